//! Content keys: what a thing that is made once is called, a hash over all that decides what is in it.

use std::os::unix::fs::MetadataExt as _;

use camino::Utf8Path;
use fs_err as fs;

/// A key being made. Fields do not run into each other.
#[derive(Debug, Default)]
pub(crate) struct KeyHasher(blake3::Hasher);

impl KeyHasher {
    /// Adds a named field.
    pub(crate) fn field(&mut self, name: &str, value: impl AsRef<[u8]>) -> &mut Self {
        for part in [name.as_bytes(), value.as_ref()] {
            self.0.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        self
    }

    /// Adds a file by its path and all that a change to it would change, without reading it.
    pub(crate) fn file(&mut self, name: &str, path: &Utf8Path) -> std::io::Result<&mut Self> {
        let file = fs::metadata(path)?;
        let (seconds, nanos) = (file.ctime(), file.ctime_nsec());
        let stamp =
            format!("{path} {} {} {} {seconds}.{nanos}", file.dev(), file.ino(), file.len());
        Ok(self.field(name, stamp))
    }

    /// The first 128 bits of the hash, as hex.
    pub(crate) fn key(&self) -> String {
        self.0.finalize().to_hex()[..32].to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_run_into_each_other() {
        let key = |fields: &[(&str, &str)]| {
            let mut hasher = KeyHasher::default();
            for (name, value) in fields {
                hasher.field(name, value);
            }
            hasher.key()
        };
        assert_eq!(key(&[("a", "bc")]), key(&[("a", "bc")]));
        assert_ne!(key(&[("a", "bc")]), key(&[("ab", "c")]));
        assert_ne!(key(&[("a", "b"), ("c", "d")]), key(&[("c", "d"), ("a", "b")]));
    }

    #[test]
    fn a_file_that_was_written_to_makes_another_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap().join("file");
        let key = || KeyHasher::default().file("kernel", &path).map(|hasher| hasher.key());
        assert!(key().is_err());
        fs::write(&path, "one").unwrap();
        let first = key().unwrap();
        fs::write(&path, "longer").unwrap();
        assert_ne!(first, key().unwrap());
    }
}
