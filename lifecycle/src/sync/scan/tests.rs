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

/// Trees with an ignore file of each kind that cannot be obeyed.
fn wrong_ignore_files(path: &str) -> Vec<(&'static str, Trees)> {
    let with = |make: &dyn Fn(&Trees, PathBuf)| {
        let trees = Trees::new();
        trees.write("kept", "");
        trees.write(format!("{path}.twin"), "kept");
        make(&trees, trees.host(path));
        trees
    };
    let fifo = |_: &Trees, path: PathBuf| {
        rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RUSR).unwrap();
    };
    vec![
        ("a FIFO", with(&fifo)),
        ("a symbolic link", with(&|_, path| symlink("/dev/zero", path).unwrap())),
        ("a symbolic link", with(&|trees, path| symlink(trees.host("kept"), path).unwrap())),
        ("a symbolic link", with(&|_, path| symlink("/no/such/file", path).unwrap())),
        ("larger than 1024 KiB", with(&|_, path| fs::write(path, vec![b'x'; 2 << 20]).unwrap())),
        (
            "larger than 1024 KiB",
            with(&|_, path| fs::File::create(path).unwrap().set_len(3 << 20).unwrap()),
        ),
        ("too many", with(&|_, path| fs::write(path, "*[a-z]*?*\n".repeat(5_000)).unwrap())),
    ]
}

#[test]
fn an_ignore_file_that_cannot_be_obeyed_is_an_error_that_names_it() {
    for path in [".gitignore", ".bangerignore", "deep/down/.gitignore", ".git/info/exclude"] {
        for (why, trees) in wrong_ignore_files(path) {
            let error = scan(&trees.root, None).unwrap_err();
            assert!(error.to_string().ends_with(&format!("{path}`")), "{error}");
            let cause = std::error::Error::source(&error).unwrap().to_string();
            assert!(cause.contains(why), "{why}: {cause}");
            assert!(error.hint().unwrap().contains("regular file"));
        }
    }
}

#[test]
fn an_untrusted_tree_is_scanned_without_the_ignore_file_that_cannot_be_obeyed() {
    for path in [".gitignore", "deep/down/.bangerignore", ".git/info/exclude"] {
        for (why, mut trees) in wrong_ignore_files(path) {
            trees.root.trust = Trust::Untrusted;
            let Scan { manifest, passed_over } = scan_tree(&trees.root, None).unwrap();
            assert_eq!(passed_over, [trees.host(path)], "{why}");
            assert!(manifest.get(OsStr::new("kept")).is_some());
        }
    }
}

#[test]
fn an_ignore_file_above_the_tree_is_read_as_carefully() {
    for (_, mut trees) in wrong_ignore_files(".gitignore") {
        fs::create_dir(trees.host(".git")).unwrap();
        trees.write("inner/x", "");
        trees.root.host.push("inner");
        assert!(matches!(scan(&trees.root, None), Err(SyncError::IgnoreFile { .. })));
        trees.root.trust = Trust::Untrusted;
        assert_eq!(paths(&trees), ["x"]);
    }
}

#[test]
fn a_repository_may_be_of_any_kind() {
    let kinds: [&dyn Fn(PathBuf); 5] = [
        &|path| rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RUSR).unwrap(),
        &|path| symlink("/dev/zero", path).unwrap(),
        &|path| symlink("/", path).unwrap(),
        &|path| fs::File::create(path).unwrap().set_len(1 << 40).unwrap(),
        &|path| fs::write(path, "gitdir: /dev\n").unwrap(),
    ];
    for make in kinds {
        for trust in [Trust::Trusted, Trust::Untrusted] {
            let mut trees = Trees::new();
            trees.root.trust = trust;
            trees.write("x", "");
            make(trees.host(".git"));
            assert_eq!(paths(&trees), ["x"]);
        }
    }
}

#[test]
fn a_worktree_has_the_exclude_file_of_its_repository_unless_it_is_untrusted() {
    let mut trees = Trees::new();
    trees.write("main/.git/info/exclude", "notes\n");
    trees.write("main/.git/worktrees/w/commondir", "../..\n");
    trees.write("w/.git", format!("gitdir: {}\n", trees.host("main/.git/worktrees/w").display()));
    trees.write("w/notes", "");
    trees.root.host.push("w");
    assert_eq!(paths(&trees), [""; 0]);
    trees.root.trust = Trust::Untrusted;
    assert_eq!(paths(&trees), ["notes"]);
}

#[test]
fn what_is_no_pattern_is_passed_over_and_the_rest_obeyed() {
    let trees = Trees::new();
    trees.write(".gitignore", b"a{b\n\xff\xfe\nout\n");
    trees.write("out", "");
    assert_eq!(paths(&trees), [".gitignore"]);
    fs::create_dir(trees.host(".bangerignore")).unwrap();
    assert_eq!(paths(&trees), [".bangerignore", ".gitignore"], "a directory has no rules");
}

#[test]
fn a_tree_that_is_too_deep_is_an_error_with_the_start_of_its_path() {
    let trees = Trees::new();
    // By steps: a whole path of it is longer than the kernel takes.
    let mut dir = rustix::fs::open(
        trees.root.host.as_std_path(),
        OFlags::DIRECTORY,
        rustix::fs::Mode::empty(),
    )
    .unwrap();
    for _ in 0..5_000 {
        rustix::fs::mkdirat(&dir, "d", rustix::fs::Mode::RWXU).unwrap();
        dir = rustix::fs::openat(&dir, "d", OFlags::DIRECTORY, rustix::fs::Mode::empty()).unwrap();
    }
    let error = scan(&trees.root, None).unwrap_err();
    assert!(matches!(error, SyncError::TooDeep { .. }), "{error}");
    assert!(error.to_string().len() < 200, "{error}");
    assert!(error.hint().unwrap().contains(".bangerignore"));
    trees.write(".bangerignore", "/d\n");
    assert_eq!(paths(&trees), [".bangerignore"]);
}

#[test]
fn more_than_a_workspace_disk_holds_is_refused_before_it_is_read() {
    let trees = Trees::new();
    fs::File::create(trees.host("huge")).unwrap().set_len(8 << 40).unwrap();
    let error = scan(&trees.root, None).unwrap_err().to_string();
    assert!(error.contains("huge") && error.contains("64 GiB"), "{error}");
}

#[test]
fn the_patterns_of_directories_in_each_other_are_counted_together() {
    let trees = Trees::new();
    let patterns = (0..1_000).map(|number| format!("*{number}?\n")).collect::<String>();
    trees.write("a/.gitignore", &patterns);
    trees.write("b/.gitignore", &patterns);
    assert_eq!(paths(&trees).len(), 4);
    trees.write("a/a/a/a/.gitignore", &patterns);
    trees.write("a/a/.gitignore", &patterns);
    trees.write("a/a/a/.gitignore", &patterns);
    trees.write("a/a/a/a/a/.gitignore", &patterns);
    trees.write("a/a/a/a/a/a/.gitignore", &patterns);
    let error = scan(&trees.root, None).unwrap_err();
    assert!(error.to_string().contains("/a/a/a/a/a"), "{error}");
}

/// The same rules as the crate has that knows them, which reads the files in its own way.
fn by_the_crate(tree: &Path) -> Vec<String> {
    let repository = tree.ancestors().any(|dir| dir.join(".git").exists());
    let mut builder = ignore::WalkBuilder::new(tree);
    builder.hidden(false).ignore(false).parents(repository).require_git(repository);
    builder.current_dir(tree).add_custom_ignore_filename(".bangerignore");
    builder.filter_entry(|entry| entry.depth() == 0 || entry.file_name() != ".git");
    let below = builder.build().map(|entry| entry.unwrap().into_path()).skip(1);
    let relative = below.map(|path| path.strip_prefix(tree).unwrap().to_str().unwrap().to_owned());
    let mut paths: Vec<_> = relative.collect();
    paths.sort();
    paths
}

#[test]
fn rules_are_what_the_crate_makes_of_them() {
    const NAMES: [&str; 4] = ["a", "b", "c.log", "d"];
    const RULES: [&str; 10] =
        ["a", "/b", "*.log", "!c.log", "d/", "a/b", "**/d", "!/a/b", "[ab]", "a/**"];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |limit: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % limit as u64).unwrap()
    };
    for _ in 0..150 {
        let mut trees = Trees::new();
        for _ in 0..12 {
            let path: Vec<_> = (0..=below(3)).map(|_| NAMES[below(4)]).collect();
            // What is a file already is no directory.
            let made = fs::create_dir_all(trees.host(path.join("/")));
            drop(
                made.and_then(|()| fs::write(trees.host(path.join("/")).join(NAMES[below(4)]), "")),
            );
        }
        let dirs = ["", "a", "b", "a/b", "d", "a/d/b"];
        for file in [".gitignore", ".bangerignore", ".gitignore", ".git/info/exclude"] {
            let path = trees.host(dirs[below(6)]).join(file);
            drop(fs::create_dir_all(path.parent().unwrap()));
            let rules: Vec<_> = (0..=below(3)).map(|_| RULES[below(10)]).collect();
            drop(fs::write(path, rules.join("\n")));
        }
        if below(2) == 0 && trees.host("a/b").is_dir() && !trees.host(".git").exists() {
            fs::create_dir(trees.host(".git")).unwrap();
            let expected = by_the_crate(trees.root.host.as_std_path());
            assert_eq!(paths(&trees), expected);
            let ignored = expected.iter().all(|path| path != "a/b");
            trees.root.host.push("a/b");
            if ignored {
                // Then it stands alone, which is our own rule.
                continue;
            }
        }
        assert_eq!(
            paths(&trees),
            by_the_crate(trees.root.host.as_std_path()),
            "{:#?}",
            tree_of(&trees)
        );
    }
}

fn tree_of(trees: &Trees) -> Vec<PathBuf> {
    crate::sync::testing::tree(trees.root.host.as_std_path()).into_keys().collect()
}
