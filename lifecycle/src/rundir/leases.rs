//! What VMs use of what is kept for many, by their records: a VM that was kept has no process of ours
//! that could hold a lock for it.

use std::io;

use camino::{Utf8DirEntry, Utf8Path, Utf8PathBuf};

use super::record::Uses;
use super::{Layout, Record};

/// All that the VMs there are use. Whoever removes something takes its lock first and reads this then:
/// a VM that is kept has written its record before it lets go of its locks.
///
/// A record that is not believed counts for nothing.
///
/// # Errors
/// Where the run directories cannot be listed.
pub(crate) fn leased(layout: &Layout) -> io::Result<Uses> {
    let mut all = Uses::default();
    for run_dir in run_directories(layout)? {
        if let Ok(Some(record)) = Record::read(layout, &run_dir) {
            all.extend(record.meta.uses);
        }
    }
    Ok(all)
}

/// The directories under which VMs' records are.
pub(crate) fn run_directories(layout: &Layout) -> io::Result<Vec<Utf8PathBuf>> {
    let mut found = subdirectories(&layout.runs())?;
    found.retain(|dir| dir.file_name().is_some_and(|name| !name.starts_with('.')));
    Ok(found)
}

/// The directories in a directory; none where it does not exist.
pub(crate) fn subdirectories(dir: &Utf8Path) -> io::Result<Vec<Utf8PathBuf>> {
    let mut found = Vec::new();
    for entry in entries(dir)? {
        if entry.file_type()?.is_dir() {
            found.push(entry.into_path());
        }
    }
    Ok(found)
}

/// What is in a directory; nothing where it does not exist.
pub(crate) fn entries(dir: &Utf8Path) -> io::Result<Vec<Utf8DirEntry>> {
    match dir.read_dir_utf8() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?.collect(),
    }
}

#[cfg(test)]
mod tests {
    use fs_err as fs;

    use super::*;

    #[test]
    fn what_every_vm_uses_is_leased_and_a_record_that_is_not_believed_leases_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::under(Utf8Path::from_path(dir.path()).unwrap());
        assert!(leased(&layout).unwrap().is_empty());
        for (run, record, template) in [
            ("one", "one", "a"),
            ("two", "two", "b"),
            ("three", "other", "c"),
            (".going", "x", "d"),
        ] {
            let run_dir = layout.runs().join(run);
            fs::create_dir_all(&run_dir).unwrap();
            let uses = Uses { templates: [template.to_owned()].into(), ..Uses::default() };
            Record::kept(record, uses).write(&run_dir).unwrap();
        }
        let templates: Vec<_> = leased(&layout).unwrap().templates.into_iter().collect();
        assert_eq!(templates, ["a", "b"]);
    }
}
