//! Where loaders search for libraries on this host, beyond what programs and libraries name.
//!
//! Goes by `/etc/ld.so.conf` rather than by the cache that is made from it, so that no version of
//! the cache's format matters. Variants for newer processors (`glibc-hwcaps`) are passed over: the
//! plain library runs on any.

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;

/// Where Debian's and other systems' glibc searches last.
const GLIBC_DIRECTORIES: [&str; 6] = [
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
];

/// Where musl searches, unless a file says otherwise.
const MUSL_DIRECTORIES: [&str; 3] = ["/lib", "/usr/local/lib", "/usr/lib"];

/// How deep configuration files may include others; a circle ends there.
const MAX_DEPTH: usize = 8;

/// Whether that loader is musl's, which is its C library as well.
pub(super) fn is_musl(interpreter: &Utf8Path) -> bool {
    interpreter.file_name().is_some_and(|name| name.starts_with("ld-musl-"))
}

/// The directories that this loader searches by itself, in its order; `etc` has its settings.
pub(super) fn system_directories(interpreter: &Utf8Path, etc: &Utf8Path) -> Vec<Utf8PathBuf> {
    if is_musl(interpreter) {
        return musl_directories(etc);
    }
    let mut all = Vec::new();
    read_configuration(&etc.join("ld.so.conf"), MAX_DEPTH, &mut all);
    all.extend(GLIBC_DIRECTORIES.map(Utf8PathBuf::from));
    // A loader that lives elsewhere comes from another glibc than the system's, and works only
    // with what came along with it.
    if let Some(own) = home(interpreter).filter(|own| !all.iter().any(|known| is_same(known, own)))
    {
        all.insert(0, own);
    }
    all
}

fn musl_directories(etc: &Utf8Path) -> Vec<Utf8PathBuf> {
    let text = fs::read_to_string(etc.join("ld-musl-x86_64.path")).unwrap_or_default();
    let separators = [':', '\n'];
    let named = text.split(separators).map(str::trim).filter(|directory| !directory.is_empty());
    let named: Vec<Utf8PathBuf> = named.map(Utf8PathBuf::from).collect();
    if named.is_empty() { MUSL_DIRECTORIES.map(Utf8PathBuf::from).to_vec() } else { named }
}

/// The directory that a loader really lives in.
fn home(interpreter: &Utf8Path) -> Option<Utf8PathBuf> {
    let real = interpreter.canonicalize_utf8().ok()?;
    real.parent().map(Utf8Path::to_owned)
}

fn is_same(directory: &Utf8Path, real: &Utf8Path) -> bool {
    directory.canonicalize_utf8().is_ok_and(|directory| directory == real)
}

/// Adds the directories that an `ld.so.conf` names. One that cannot be read names none, as for
/// `ldconfig`.
fn read_configuration(path: &Utf8Path, depth: usize, found: &mut Vec<Utf8PathBuf>) {
    let Some(deeper) = depth.checked_sub(1) else { return };
    let text = fs::read_to_string(path).unwrap_or_default();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split([' ', '\t', ',', ':']).filter(|word| !word.is_empty());
        match words.next() {
            Some("include") => {
                let files = words.flat_map(|pattern| matching(path, pattern));
                files.for_each(|file| read_configuration(&file, deeper, found));
            }
            Some("hwcap") | None => {}
            Some(first) => {
                let all = std::iter::once(first).chain(words);
                found.extend(all.filter(|word| word.starts_with('/')).map(Utf8PathBuf::from));
            }
        }
    }
}

/// The files that an include pattern means, by name; a star may stand once, in the file name.
fn matching(includer: &Utf8Path, pattern: &str) -> Vec<Utf8PathBuf> {
    let pattern = includer.parent().unwrap_or(Utf8Path::new("/")).join(pattern);
    let (Some(directory), Some(name)) = (pattern.parent(), pattern.file_name()) else {
        return Vec::new();
    };
    let Some((start, end)) = name.split_once('*') else { return vec![pattern] };
    let Ok(entries) = directory.read_dir_utf8() else { return Vec::new() };
    let fits = |path: &Utf8PathBuf| {
        let rest = path.file_name().and_then(|name| name.strip_prefix(start));
        rest.is_some_and(|rest| rest.ends_with(end))
    };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.into_path()));
    let mut files: Vec<_> = paths.filter(fits).collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::testing::TempDir;

    #[test]
    fn configuration_files_include_others_and_end_in_the_fixed_directories() {
        let etc = TempDir::new();
        etc.write("ld.so.conf", "# first\ninclude ld.so.conf.d/*.conf\n/opt/last # why\n");
        etc.write("ld.so.conf.d/b.conf", "/opt/b\n\ninclude ../ld.so.conf\n");
        etc.write("ld.so.conf.d/a.conf", "/opt/a:/opt/a2\nhwcap 0 nosegneg\nrelative\n");
        etc.write("ld.so.conf.d/a.conf.dpkg-old", "/opt/old\n");
        let found = system_directories("/lib64/ld-linux-x86-64.so.2".into(), &etc.join(""));
        assert_eq!(found[..3], ["/opt/a", "/opt/a2", "/opt/b"]);
        assert!(found.contains(&"/opt/last".into()) && !found.contains(&"/opt/old".into()));
        assert_eq!(found.last().unwrap(), "/usr/lib");
    }

    #[test]
    fn a_loader_that_lives_apart_brings_its_own_directory() {
        let etc = TempDir::new();
        etc.write("glibc/ld-linux-x86-64.so.2", "");
        let found = system_directories(&etc.join("glibc/ld-linux-x86-64.so.2"), &etc.join(""));
        assert_eq!(found[0], etc.join("glibc"));
    }

    #[test]
    fn musl_has_directories_of_its_own() {
        let etc = TempDir::new();
        let find = || system_directories("/lib/ld-musl-x86_64.so.1".into(), &etc.join(""));
        assert_eq!(find(), MUSL_DIRECTORIES.map(Utf8PathBuf::from));
        etc.write("ld-musl-x86_64.path", "/a:/b\n/c\n");
        assert_eq!(find(), ["/a", "/b", "/c"]);
    }
}
