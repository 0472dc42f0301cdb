//! What stored files hold, by checksums: a file may have its size and another content than it was
//! written with, after a power cut or on a failing disk.
//!
//! Reading all of it takes a second or so, and is done once in each boot of the host: a mark beside
//! the files tells that it was, and what came of it.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::FileExt as _;

use camino::Utf8Path;
use fs_err as fs;
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::BootId;

/// The mark's name, and what it holds where the files are damaged; else it holds a boot's name.
const MARK: &str = ".checked";
const DAMAGED: &str = "damaged";

/// What is read and hashed at a time. Pieces that are zeros count as holes.
const PIECE: usize = 64 << 10;

/// The checksums of files, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Sums(BTreeMap<String, String>);

impl Sums {
    /// Sums up files of a directory. Blocks for as long as it takes to read them.
    pub(crate) fn of<'a>(
        dir: &Utf8Path,
        names: impl IntoIterator<Item = &'a str>,
    ) -> io::Result<Self> {
        let sum = |name: &'a str| Ok((name.to_owned(), checksum(&dir.join(name))?));
        names.into_iter().map(sum).collect::<io::Result<_>>().map(Self)
    }

    /// What is wrong with the files in a directory, if anything is. Blocks, as [`Sums::of`].
    pub(crate) fn damage(&self, dir: &Utf8Path) -> Option<String> {
        self.0.iter().find_map(|(name, expected)| match checksum(&dir.join(name)) {
            Ok(found) if found == *expected => None,
            Ok(_) => Some(format!("`{name}` has another content than it was stored with")),
            Err(error) => Some(error.to_string()),
        })
    }
}

/// Checks what a directory holds, unless that was done in this boot. `damage` looks, on a thread where
/// it may block; `begin` is called before. Returns what is wrong.
pub(crate) async fn check(
    dir: &Utf8Path,
    boot: &BootId,
    begin: impl FnOnce(),
    damage: impl FnOnce() -> Option<String> + Send + 'static,
) -> io::Result<Option<String>> {
    match fs::read_to_string(dir.join(MARK)).as_deref() {
        Ok(DAMAGED) => return Ok(Some("its content was found damaged before".to_owned())),
        Ok(checked) if checked == mark(boot) => return Ok(None),
        _ => begin(),
    }
    let damage = tokio::task::spawn_blocking(damage).await.map_err(io::Error::other)?;
    let noted = match &damage {
        None => note_whole(dir, boot),
        Some(_) => fs::write(dir.join(MARK), DAMAGED),
    };
    if let Err(error) = noted {
        tracing::debug!(%error, "it will be checked again");
    }
    Ok(damage)
}

/// Writes down that what a directory holds is as it was stored.
pub(crate) fn note_whole(dir: &Utf8Path, boot: &BootId) -> io::Result<()> {
    fs::write(dir.join(MARK), mark(boot))
}

/// Whether what a directory holds was found damaged.
pub(crate) fn is_damaged(dir: &Utf8Path) -> bool {
    fs::read_to_string(dir.join(MARK)).is_ok_and(|mark| mark == DAMAGED)
}

fn mark(boot: &BootId) -> String {
    format!("boot {}", boot.as_str())
}

/// A hash over a file's length and all that is not zeros in it, however its holes are kept.
fn checksum(path: &Utf8Path) -> io::Result<String> {
    let file = fs::File::open(path)?;
    let length = file.metadata()?.len();
    let mut hasher = blake3::Hasher::new();
    hasher.update(&length.to_le_bytes());
    let (mut piece, zeros) = (vec![0; PIECE], vec![0; PIECE]);
    let mut at = 0;
    while let Some(data) = find(&file, SeekFrom::Data(at), at)?.filter(|data| *data < length) {
        let hole = find(&file, SeekFrom::Hole(data), length)?.unwrap_or(length);
        at = data - data % PIECE as u64;
        while at < hole.min(length) {
            let size = usize::try_from(length - at).unwrap_or(PIECE).min(PIECE);
            file.file().read_exact_at(&mut piece[..size], at)?;
            if piece[..size] != zeros[..size] {
                hasher.update(&at.to_le_bytes()).update(&piece[..size]);
            }
            at += PIECE as u64;
        }
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// Where the next data or hole is; `otherwise` on a filesystem that does not tell.
fn find(file: &fs::File, what: SeekFrom, otherwise: u64) -> io::Result<Option<u64>> {
    match seek(file, what) {
        Ok(at) => Ok(Some(at)),
        Err(Errno::NXIO) => Ok(None),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Some(otherwise)),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// Changes a byte in a file, and nothing else that a look at the file would show.
    pub(crate) fn damage(path: &Utf8Path) {
        let before = fs::metadata(path).unwrap();
        let mut bytes = fs::read(path).unwrap();
        bytes[0] ^= 1;
        // Also where it is read-only, and not by root.
        let mode = before.permissions();
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.file().write_all_at(&bytes[..1], 0).unwrap();
        file.file().set_modified(before.modified().unwrap()).unwrap();
        fs::set_permissions(path, mode).unwrap();
        assert_eq!(fs::metadata(path).unwrap().len(), before.len());
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    fn place() -> (tempfile::TempDir, camino::Utf8PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = camino::Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap();
        (dir, path)
    }

    #[test]
    fn a_sum_is_of_the_content_and_not_of_how_it_is_kept() {
        let (_dir, dir) = place();
        let length = 40 * PIECE as u64 + 5;
        let write = |name: &str, pieces: &[(u64, &[u8])], whole: bool| {
            let file = fs::File::create(dir.join(name)).unwrap();
            if whole {
                let zeros = vec![0; usize::try_from(length).unwrap()];
                file.file().write_all_at(&zeros, 0).unwrap();
            }
            file.set_len(length).unwrap();
            for (at, bytes) in pieces {
                file.file().write_all_at(bytes, *at).unwrap();
            }
            checksum(&dir.join(name)).unwrap()
        };
        let far = 17 * PIECE as u64 + 4096;
        let pieces: &[(u64, &[u8])] = &[(3, b"one"), (far, b"two"), (length - 1, b"x")];
        let sum = write("sparse", pieces, false);
        assert_eq!(sum, write("dense", pieces, true));
        assert_ne!(
            sum,
            write("moved", &[(3, b"one"), (far + 1, b"two"), (length - 1, b"x")], false)
        );
        assert_ne!(sum, write("other", &[(3, b"one"), (far, b"twp"), (length - 1, b"x")], false));
        let empty = |length| {
            fs::File::create(dir.join("empty")).unwrap().set_len(length).unwrap();
            checksum(&dir.join("empty")).unwrap()
        };
        assert_ne!(empty(0), empty(1 << 40));
    }

    #[tokio::test]
    async fn content_is_looked_at_once_in_each_boot() {
        let (_dir, dir) = place();
        fs::write(dir.join("file"), "content").unwrap();
        let sums = Sums::of(&dir, ["file"]).unwrap();
        let looked = std::cell::Cell::new(0);
        let check = async |boot: &str| {
            let (sums, path) = (sums.clone(), dir.clone());
            let begin = || looked.set(looked.get() + 1);
            check(&dir, &BootId::new(boot), begin, move || sums.damage(&path)).await.unwrap()
        };
        for boot in ["one", "one", "two", "two"] {
            assert_eq!(check(boot).await, None);
        }
        assert_eq!(looked.get(), 2);
        testing::damage(&dir.join("file"));
        assert_eq!(check("two").await, None);
        assert!(check("three").await.unwrap().contains("`file`"));
        assert!(is_damaged(&dir) && check("three").await.is_some() && looked.get() == 3);
        fs::write(dir.join(MARK), "\0\0\0\0").unwrap();
        assert!(!is_damaged(&dir) && check("three").await.is_some());
    }
}
