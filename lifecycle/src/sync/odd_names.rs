//! Names that are not UTF-8: the SFTP client writes names as text, so they travel another way.

use std::ffi::OsString;
use std::io;
use std::path::Path;

use super::plan::Plan;

/// The part of a plan that concerns such names, as relative paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OddNames {
    /// What has to go, with all that is in it.
    pub remove: Vec<OsString>,
    /// What has to arrive: directories before their content.
    pub send: Vec<OsString>,
}

impl OddNames {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.send.is_empty()
    }

    /// Writes a tar archive of what has to arrive, as it is on the host now. What has vanished is
    /// left out. Blocks.
    ///
    /// # Errors
    /// Where a file cannot be read, or the archive not written.
    pub fn archive(&self, host_root: &Path, to: impl io::Write) -> io::Result<()> {
        let mut archive = tar::Builder::new(to);
        archive.follow_symlinks(false);
        for path in &self.send {
            match archive.append_path_with_name(host_root.join(path), path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        archive.into_inner().map(drop)
    }
}

impl Plan {
    /// Takes what concerns names that are not UTF-8 out of the plan.
    pub fn take_odd_names(&mut self) -> OddNames {
        let mut odd = OddNames::default();
        let Self { deletions, directories, symlinks, uploads, metadata, .. } = self;
        let deleted = deletions.extract_if(.., |deletion| is_odd(&deletion.path));
        odd.remove.extend(deleted.map(|deletion| deletion.path));
        odd.send.extend(directories.extract_if(.., |path| is_odd(path)));
        let links = symlinks.extract_if(.., |(path, target)| is_odd(path) || is_odd(target));
        odd.send.extend(links.map(|(path, _)| path));
        let files = uploads.extract_if(.., |upload| is_odd(&upload.path));
        odd.send.extend(files.map(|upload| upload.path));
        let changed = metadata.extract_if(.., |change| is_odd(&change.path));
        odd.send.extend(changed.map(|change| change.path));
        odd
    }
}

fn is_odd(name: &OsString) -> bool {
    name.to_str().is_none()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    use camino::Utf8Path;
    use fs_err as fs;

    use super::super::{Manifest, Root, scan};
    use super::*;

    #[test]
    fn a_plan_is_parted_by_names_and_nothing_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let odd_dir = OsStr::from_bytes(b"d\xff");
        fs::create_dir(dir.path().join(odd_dir)).unwrap();
        fs::write(dir.path().join(odd_dir).join("inner"), "1").unwrap();
        fs::write(dir.path().join("plain"), "2").unwrap();
        let root = Root::new(Utf8Path::from_path(dir.path()).unwrap());
        let manifest = scan(&root, None).unwrap();
        let mut plan = Plan::between(Some(&Manifest::default()), &manifest);
        let odd = plan.take_odd_names();
        assert_eq!(plan.files(), 1);
        let mut archive = Vec::new();
        odd.archive(dir.path(), &mut archive).unwrap();
        let mut archive = tar::Archive::new(archive.as_slice());
        let names: Vec<_> =
            archive.entries().unwrap().map(|e| e.unwrap().path_bytes().into_owned()).collect();
        assert!(names.contains(&b"d\xff/inner".to_vec()), "{names:?}");

        let mut back = Plan::between(Some(&manifest), &Manifest::default());
        assert_eq!(back.take_odd_names().remove.len(), 2);
    }
}
