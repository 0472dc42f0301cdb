//! Which way `use` points: lib.rs lists the modules in lifecycle order, and a module uses only
//! modules that stand above it.

#![expect(clippy::unwrap_used, reason = "a test, all of it")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fs_err as fs;

/// The modules' ranks: their places in lib.rs.
fn ranks(lib: &str) -> BTreeMap<String, usize> {
    let module = |line: &str| {
        let line = line.strip_prefix("pub ").unwrap_or(line);
        Some(line.strip_prefix("mod ")?.strip_suffix(';')?.to_owned())
    };
    lib.lines().filter_map(module).enumerate().map(|(rank, name)| (name, rank)).collect()
}

/// The modules of this crate that a line of code names, comments left out.
fn named(line: &str) -> Vec<&str> {
    let code = line.split("//").next().unwrap_or_default();
    let word = |text: &str| text.find(|c: char| !c.is_alphanumeric() && c != '_');
    let modules = code.split("crate::").skip(1).flat_map(|rest| match rest.strip_prefix('{') {
        Some(group) => group.split(", ").collect(),
        None => vec![rest],
    });
    modules.map(|text| &text[..word(text).unwrap_or(text.len())]).collect()
}

/// Every Rust file below a directory, in order.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = entries
        .flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect();
    found.sort();
    found
}

/// The module at the top of the crate that a file belongs to.
fn module_of(file: &Path, src: &Path) -> String {
    let inside = file.strip_prefix(src).unwrap();
    let first = Path::new(inside.iter().next().unwrap());
    first.file_stem().unwrap().to_string_lossy().into_owned()
}

/// Where a crate's modules use one that stands below them.
fn upward_uses(src: &Path) -> Vec<String> {
    let lib = src.join("lib.rs");
    let ranks = ranks(&fs::read_to_string(&lib).unwrap());
    let mut wrong = Vec::new();
    for file in sources(src).iter().filter(|file| **file != lib) {
        let module = module_of(file, src);
        let rank = *ranks.get(&module).expect("lib.rs declares every module");
        let text = fs::read_to_string(file).unwrap();
        for (line, number) in text.lines().zip(1..) {
            let at = format!("{}:{number}", file.strip_prefix(src).unwrap().display());
            if line.ends_with("crate::{") {
                wrong.push(format!("{at}: write one `use crate::` for each module"));
            }
            let below = |name: &&str| ranks.get(*name).is_some_and(|used| *used > rank);
            let names = named(line).into_iter().filter(below);
            wrong.extend(names.map(|name| format!("{at}: `{module}` uses `{name}`")));
        }
    }
    wrong
}

#[test]
fn modules_use_only_what_stands_above_them() {
    let wrong = upward_uses(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(wrong.is_empty(), "against the order of lib.rs:\n{}", wrong.join("\n"));
}

#[test]
fn a_use_that_points_down_is_found() {
    let src = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(src.path().join(name), text).unwrap();
    fs::create_dir(src.path().join("vmm")).unwrap();
    write("lib.rs", "/// First.\nmod image;\n/// Second.\npub mod vmm;\n");
    write("image.rs", "use crate::image::A;\nuse crate::vmm::B;\n");
    write("vmm/mod.rs", "use crate::image::A;\nuse crate::{\n");
    let expected =
        ["image.rs:2: `image` uses `vmm`", "vmm/mod.rs:2: write one `use crate::` for each module"];
    assert_eq!(upward_uses(src.path()), expected);
}

#[test]
fn every_way_to_name_a_module_is_seen() {
    assert_eq!(named("use crate::image::Image;"), ["image"]);
    assert_eq!(named("pub(crate) use crate::{image::Image, vmm};"), ["image", "vmm"]);
    assert_eq!(named("let a: crate::error::Cause = crate::exec::go();"), ["error", "exec"]);
    assert!(named("//! see crate::image; use super::x").is_empty());
}
