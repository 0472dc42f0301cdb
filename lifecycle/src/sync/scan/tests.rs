use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;

use super::*;
use crate::sync::testing::{Trees, set_mode, set_seconds};

fn paths(trees: &Trees) -> Vec<String> {
    let manifest = scan(&trees.root, None).unwrap();
    manifest.iter().map(|(path, _)| path.to_string_lossy().into_owned()).collect()
}

#[test]
fn every_kind_is_seen_as_it_is() {
    let trees = Trees::new();
    trees.write("dir/.hidden", "x");
    trees.write("empty", "");
    symlink("/no/where", trees.host("dangling")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, trees.host("pipe"), rustix::fs::Mode::RUSR).unwrap();
    trees.write(OsStr::from_bytes(b"odd \n\xff"), "y");
    set_mode(trees.host("dir"), 0o750);

    let manifest = scan(&trees.root, None).unwrap();
    assert_eq!(manifest.len(), 5, "the pipe is left out");
    let kind = |path: &[u8]| manifest.get(OsStr::from_bytes(path)).unwrap().kind.clone();
    assert_eq!(kind(b"dir"), Kind::Directory);
    assert_eq!(manifest.get(OsStr::new("dir")).unwrap().mode, 0o750);
    let expected = Kind::File { size: 1, hash: *blake3::hash(b"x").as_bytes() };
    assert_eq!(kind(b"dir/.hidden"), expected);
    assert_eq!(kind(b"empty"), Kind::File { size: 0, hash: *blake3::hash(b"").as_bytes() });
    assert_eq!(kind(b"dangling"), Kind::Symlink { target: "/no/where".into() });
    assert!(matches!(kind(b"odd \n\xff"), Kind::File { size: 1, .. }));
}

#[test]
fn ignore_rules_count_without_a_repository() {
    let trees = Trees::new();
    trees.write(".gitignore", "*.log\n/target\n");
    trees.write("a.log", "");
    trees.write("target/debug/a", "");
    trees.write("crate/.gitignore", "!keep.log\nout/\n");
    trees.write("crate/keep.log", "");
    trees.write("crate/out/x", "");
    trees.write("secret", "");
    trees.write("crate/large", "");
    trees.write(".bangerignore", "secret\n/crate/large\n");
    // Not for us: another tool's ignore file.
    trees.write(".ignore", "crate\n");
    let expected =
        [".bangerignore", ".gitignore", ".ignore", "crate", "crate/.gitignore", "crate/keep.log"];
    assert_eq!(paths(&trees), expected);
}

#[test]
fn a_bangerignore_rule_beats_a_gitignore_rule() {
    let trees = Trees::new();
    trees.write(".gitignore", "generated.rs\n");
    trees.write(".bangerignore", "!generated.rs\n");
    trees.write("generated.rs", "");
    assert_eq!(paths(&trees), [".bangerignore", ".gitignore", "generated.rs"]);
}

#[test]
fn a_repository_adds_its_exclude_file_and_keeps_its_data_home() {
    let trees = Trees::new();
    trees.write(".git/info/exclude", "notes\n");
    trees.write(".git/HEAD", "");
    trees.write("notes", "");
    trees.write("sub/.git", "gitdir: elsewhere");
    trees.write("sub/code", "");
    assert_eq!(paths(&trees), ["sub", "sub/code"]);
}

#[test]
fn rules_above_the_root_count_inside_one_repository_only() {
    let mut trees = Trees::new();
    trees.write(".gitignore", "*.tmp\n/repo/app/out\n");
    trees.write("repo/app/x.tmp", "");
    trees.write("repo/app/out/x", "");
    trees.write("repo/app/x.rs", "");
    let whole = trees.root.host.clone();
    trees.root.host = whole.join("repo/app");
    assert_eq!(paths(&trees), ["out", "out/x", "x.rs", "x.tmp"], "no repository");

    fs::create_dir(whole.join(".git")).unwrap();
    assert_eq!(paths(&trees), ["x.rs"], "one repository");

    fs::create_dir(whole.join("repo/.git")).unwrap();
    assert_eq!(paths(&trees), ["out", "out/x", "x.rs", "x.tmp"], "a repository in between");
}

#[test]
fn a_root_that_its_repository_ignores_stands_alone() {
    let mut trees = Trees::new();
    trees.write(".gitignore", "*\n");
    fs::create_dir(trees.host(".git")).unwrap();
    trees.write("project/.gitignore", "out\n");
    trees.write("project/out", "");
    trees.write("project/main.rs", "");
    trees.root.host.push("project");
    assert_eq!(paths(&trees), [".gitignore", "main.rs"]);
}

#[test]
fn excluded_and_build_directories_are_left_out() {
    let mut trees = Trees::new();
    trees.write("build/x", "");
    trees.write("other/build/x", "");
    trees.write("nested/target/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55");
    trees.write("named/target/x", "");
    trees.root.excluded.push(trees.root.host.join("build"));
    let expected = [
        "named",
        "named/target",
        "named/target/x",
        "nested",
        "other",
        "other/build",
        "other/build/x",
    ];
    assert_eq!(paths(&trees), expected);
}

#[test]
fn what_is_forced_comes_along_with_its_directories() {
    let mut trees = Trees::new();
    trees.write(".gitignore", "Cargo.lock\nvendor\n");
    trees.write("Cargo.lock", "");
    trees.write("vendor/dep/src/lib.rs", "");
    trees.write("vendor/dep/target/CACHEDIR.TAG", "");
    trees.write("vendor/other", "");
    for path in ["Cargo.lock", "vendor/dep", "not/there", ".gitignore"] {
        trees.root.forced.push(trees.root.host.join(path));
    }
    trees.root.forced.push("/etc/hostname".into());
    let expected = [
        ".gitignore",
        "Cargo.lock",
        "vendor",
        "vendor/dep",
        "vendor/dep/src",
        "vendor/dep/src/lib.rs",
    ];
    assert_eq!(paths(&trees), expected);
}

/// The previous scan as if it had happened later, so that its entries count as settled.
fn aged(mut manifest: Manifest) -> Manifest {
    manifest.scanned.seconds += 10;
    manifest
}

/// The previous scan with hashes that no file has: those found again were not read again.
fn marked(trees: &Trees) -> Manifest {
    let mut manifest = aged(scan(&trees.root, None).unwrap());
    for (_, entry) in &mut manifest.entries {
        if let Kind::File { hash, .. } = &mut entry.kind {
            *hash = [1; 32];
        }
    }
    manifest
}

fn was_trusted(trees: &Trees, previous: &Manifest, path: &str) -> bool {
    let manifest = scan(&trees.root, Some(previous)).unwrap();
    let kind = &manifest.get(OsStr::new(path)).unwrap().kind;
    matches!(kind, Kind::File { hash, .. } if *hash == [1; 32])
}

#[test]
fn an_unchanged_settled_file_is_not_read_again() {
    let trees = Trees::new();
    trees.write("a", "one");
    let mut previous = marked(&trees);
    assert!(was_trusted(&trees, &previous, "a"));
    previous.scanned.seconds -= 10;
    assert!(!was_trusted(&trees, &previous, "a"), "it changed just before the scan");
}

#[test]
fn any_change_makes_a_file_be_read_again() {
    let trees = Trees::new();
    trees.write("a", "one");
    let previous = marked(&trees);
    trees.write("a", "three");
    assert!(!was_trusted(&trees, &previous, "a"), "size");

    let previous = marked(&trees);
    set_seconds(trees.host("a"), 1_000_000);
    assert!(!was_trusted(&trees, &previous, "a"), "time");

    let previous = marked(&trees);
    trees.write("b", "three");
    set_seconds(trees.host("b"), 1_000_000);
    fs::rename(trees.host("b"), trees.host("a")).unwrap();
    assert!(!was_trusted(&trees, &previous, "a"), "inode");
}

#[test]
fn a_file_without_a_stamp_is_read_again() {
    let trees = Trees::new();
    trees.write("a", "one");
    let mut previous = marked(&trees);
    previous.entries[0].1.stamp = None;
    assert!(!was_trusted(&trees, &previous, "a"));
}

#[test]
fn a_missing_root_is_an_error_that_names_it() {
    let error = scan(&Root::new("/no/such/root"), None).unwrap_err();
    assert_eq!(error.to_string(), "cannot read `/no/such/root`");
}

#[test]
fn an_unreadable_file_is_an_error_with_a_way_out() {
    if rustix::process::geteuid().is_root() {
        println!("skipped: root can read everything");
        return;
    }
    let trees = Trees::new();
    trees.write("locked", "x");
    set_mode(trees.host("locked"), 0);
    let error = scan(&trees.root, None).unwrap_err();
    assert!(error.to_string().ends_with("host/locked`"), "{error}");
    assert!(error.hint().unwrap().contains(".bangerignore"));
}

#[test]
fn a_long_file_is_hashed_whole() {
    let trees = Trees::new();
    let content = crate::sync::testing::noise(1, 3_000_001);
    trees.write("long", &content);
    let manifest = scan(&trees.root, None).unwrap();
    let expected = Kind::File { size: 3_000_001, hash: *blake3::hash(&content).as_bytes() };
    assert_eq!(manifest.get(OsStr::new("long")).unwrap().kind, expected);
}
