//! Turns a directory with a new image's files into an image: digest, manifest, read-only.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::time::SystemTime;

use camino::Utf8Path;
use fs_err as fs;

use crate::image::build::Parts;
use crate::image::error::ImageError;
use crate::image::manifest::{Digest, FILE_NAME, FORMAT, Manifest, Requested};
use crate::image::recipe::Recipe;
use crate::image::stored::{BZIMAGE, INITRD, LOCK, ROOTFS, VMLINUX};

/// What the digest is of. The bzImage holds the same kernel as the ELF.
const HASHED: [&str; 3] = [ROOTFS, VMLINUX, INITRD];
const FILES: [&str; 4] = [ROOTFS, VMLINUX, BZIMAGE, INITRD];

/// Seals the image in `directory` and returns its digest.
pub(super) fn seal(
    directory: &Utf8Path,
    recipe: &Recipe,
    parts: Parts,
) -> Result<Digest, ImageError> {
    let failed = || ImageError::io("seal the new image");
    clear(directory).map_err(failed())?;
    let mut files = BTreeMap::new();
    for name in FILES {
        let size = fs::metadata(directory.join(name)).map_err(failed())?.len();
        files.insert(name.to_owned(), size);
    }
    let digest = digest(directory, &files).map_err(failed())?;
    let manifest = Manifest {
        format: FORMAT,
        digest: digest.clone(),
        suite: recipe.suite().to_owned(),
        mirror: recipe.mirror().map(str::to_owned),
        packages: Requested::from(recipe.packages()),
        installed: parts.installed,
        kernel: parts.kernel,
        architecture: parts.architecture,
        built: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        size: files.values().sum(),
        files,
        missing_modules: parts.missing_modules,
    };
    let text = serde_json::to_string_pretty(&manifest).expect("strings and numbers make JSON");
    fs::write(directory.join(FILE_NAME), text).map_err(failed())?;
    fs::write(directory.join(LOCK), "").map_err(failed())?;
    let private = std::fs::Permissions::from_mode(0o700);
    fs::set_permissions(directory, private).map_err(failed())?;
    for name in FILES.into_iter().chain([FILE_NAME]) {
        let mode = std::fs::Permissions::from_mode(0o444);
        fs::set_permissions(directory.join(name), mode).map_err(failed())?;
    }
    Ok(digest)
}

/// The digest of files in a directory, of these sizes.
fn digest(directory: &Utf8Path, files: &BTreeMap<String, u64>) -> std::io::Result<Digest> {
    let mut hasher = blake3::Hasher::new();
    for name in HASHED {
        let size = files.get(name).copied().unwrap_or_default();
        hasher.update(name.as_bytes()).update(&size.to_le_bytes());
        hasher.update_mmap(directory.join(name))?;
    }
    Ok(Digest::from(hasher.finalize()))
}

/// What is wrong with the content of an image's files, if anything is. Blocks for as long as it takes to
/// read them.
pub(in crate::image) fn damage(directory: &Utf8Path, manifest: &Manifest) -> Option<String> {
    match digest(directory, &manifest.files) {
        Ok(found) if found == manifest.digest => None,
        Ok(_) => Some("its files have another content than they were built with".to_owned()),
        Err(error) => Some(error.to_string()),
    }
}

/// Removes what a build leaves beside the image's files.
fn clear(directory: &Utf8Path) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if FILES.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
