//! Workspaces made up for the benchmark.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use fs_err as fs;

use crate::Result;
use crate::banger::Banger;

/// Files per directory.
const PER_DIRECTORY: u32 = 100;

/// Makes a workspace of one small crate.
pub(crate) fn crate_in(parent: &Path, name: &str) -> Result<PathBuf> {
    let root = parent.join(name);
    fs::create_dir_all(root.join("src"))?;
    let manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n[workspace]\n"
    );
    fs::write(root.join("Cargo.toml"), manifest)?;
    fs::write(root.join("src/main.rs"), "fn main() {}\n")?;
    Ok(root)
}

/// The large workspace of the benchmark, made where it is not there yet.
pub(crate) fn large(banger: &Banger, count: u32) -> Result<PathBuf> {
    let root = banger.home().join("bench-tree");
    if !root.exists() {
        eprintln!("making {count} files");
        crate_in(banger.home(), "bench-tree")?;
        grow(&root, count)?;
    }
    Ok(root)
}

/// Where the large workspace's files are.
pub(crate) fn data_of(root: &Path) -> PathBuf {
    root.join("data")
}

/// Adds `count` files of about 1 KB, no two alike.
fn grow(root: &Path, count: u32) -> Result<()> {
    let data = data_of(root);
    for number in 0..count {
        let directory = data.join(format!("{:04}", number / PER_DIRECTORY));
        if number % PER_DIRECTORY == 0 {
            fs::create_dir_all(&directory)?;
        }
        fs::write(directory.join(format!("{number:06}.txt")), content(number))?;
    }
    Ok(())
}

/// Changes one file of those.
pub(crate) fn touch(data: &Path, number: u32) -> Result<()> {
    let directory = data.join(format!("{:04}", number / PER_DIRECTORY));
    let path = directory.join(format!("{number:06}.txt"));
    let mut text = fs::read_to_string(&path)?;
    text.push_str("changed\n");
    Ok(fs::write(path, text)?)
}

/// Some 1000 bytes that follow from the number.
fn content(number: u32) -> String {
    let mut state = u64::from(number) + 1;
    let mut text = String::with_capacity(1024);
    for _ in 0..60 {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        writeln!(text, "{state:016x}").expect("writing to a string does not fail");
    }
    text
}
