use std::time::{Duration, SystemTime};

use banger_protocol::event::Events;

use super::*;
use crate::layer::testing::{Heard, TempDir, can_pack, unpack};

/// A sysroot with the parts that matter, its files written in the order given.
fn sysroot(temp: &TempDir, name: &str, order: &[&str]) -> Utf8PathBuf {
    let sysroot = temp.join(name);
    for file in order {
        temp.write(&format!("{name}/{file}"), file);
        touch(&sysroot.join(file), 1_000_000_000);
    }
    sysroot
}

const FILES: [&str; 4] =
    ["bin/cargo", "lib/rustlib/x/lib/libstd.rlib", "libexec/srv", "share/doc/a"];

fn touch(path: &Utf8Path, seconds: u64) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.file().set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
}

fn id(sysroot: &Utf8Path) -> LayerId {
    // Another place is another layer; so pretend that all stand at the same one.
    Contents::list(sysroot).unwrap().id("/rust".into())
}

#[test]
fn the_key_is_the_contents_whatever_the_order() {
    let temp = TempDir::new();
    let one = sysroot(&temp, "one", &FILES);
    let mut reversed = FILES;
    reversed.reverse();
    let two = sysroot(&temp, "two", &reversed);
    assert_eq!(id(&one), id(&two));
    let contents = Contents::list(&one).unwrap();
    assert_ne!(contents.id(&one), contents.id(&two));
    assert_eq!(contents.size(), FILES[..3].iter().map(|file| file.len() as u64).sum::<u64>());
}

#[test]
fn the_key_changes_with_anything_that_is_included() {
    let temp = TempDir::new();
    let sysroot = sysroot(&temp, "rust", &FILES);
    let mut known = vec![id(&sysroot)];
    let mut changed = |what: &str| {
        let new = id(&sysroot);
        assert!(!known.contains(&new), "{what}");
        known.push(new);
    };
    touch(&sysroot.join("bin/cargo"), 1_000_000_001);
    changed("time");
    temp.write("rust/lib/librustc.so", "");
    changed("new file");
    std::os::unix::fs::symlink("librustc.so", sysroot.join("lib/link")).unwrap();
    changed("new link");
    fs::remove_file(sysroot.join("lib/link")).unwrap();
    std::os::unix::fs::symlink("elsewhere", sysroot.join("lib/link")).unwrap();
    changed("other target");
    let before = id(&sysroot);
    temp.write("rust/share/man/new", "x");
    assert_eq!(before, id(&sysroot), "documentation is left out");
}

#[test]
fn a_real_cargo_tells_its_sysroot() {
    let temp = TempDir::new();
    let root = sysroot(&temp, "rust", &FILES);
    assert_eq!(sysroot_of(&root.join("bin/cargo")), Some(root));
    temp.write("home/.cargo/bin/cargo", "");
    assert_eq!(sysroot_of(&temp.join("home/.cargo/bin/cargo")), None);
    assert_eq!(sysroot_of("cargo".into()), None);
}

#[tokio::test]
async fn a_proxy_is_asked_through_its_rustc() {
    use std::os::unix::fs::PermissionsExt as _;
    let temp = TempDir::new();
    let root = sysroot(&temp, "rust", &FILES);
    let proxy = temp.join("proxies/cargo");
    let answer = async |line: &str| {
        temp.write("proxies/rustc", &format!("#!/bin/sh\n{line}\n"));
        let executable = std::fs::Permissions::from_mode(0o755);
        fs::set_permissions(temp.join("proxies/rustc"), executable).unwrap();
        find_sysroot(&proxy, &temp.join("")).await
    };
    assert_eq!(answer(&format!("echo {root}")).await.unwrap(), root);
    let error = answer("echo /nowhere").await.unwrap_err();
    assert_eq!(error.to_string(), "rustc names no usable sysroot: `/nowhere`");
    let error = answer("echo no toolchain >&2; exit 1").await.unwrap_err();
    assert!(matches!(error, LayerError::Rustc(_)) && error.hint().is_some());
}

#[tokio::test]
async fn a_distributions_toolchain_is_not_shared() {
    let temp = TempDir::new();
    let heard = Heard::default();
    let store = temp.store(heard.events());
    assert!(store.toolchain("/usr".into()).await.unwrap().is_none());
    assert!(heard.contains("`/usr`"));
}

#[tokio::test]
async fn a_missing_toolchain_is_an_error() {
    let temp = TempDir::new();
    let error = temp.store(Events::silent()).toolchain(&temp.join("no")).await.unwrap_err();
    assert!(matches!(error, LayerError::Sysroot { .. }));
}

#[tokio::test]
async fn a_packed_toolchain_holds_everything_but_documentation() {
    if !can_pack() {
        return;
    }
    let temp = TempDir::new();
    let root = sysroot(&temp, "rust", &FILES);
    std::os::unix::fs::symlink("cargo", root.join("bin/link")).unwrap();
    let store = temp.store(Events::silent());
    let layer = store.toolchain(&root).await.unwrap().unwrap();
    assert_eq!((layer.mount_point(), layer.bin()), (root.as_path(), Some(root.join("bin"))));
    let out = temp.join("out");
    unpack(layer.image(), &out);
    for file in &FILES[..3] {
        assert_eq!(fs::read_to_string(out.join(file)).unwrap(), *file);
    }
    assert_eq!(fs::read_link(out.join("bin/link")).unwrap(), PathBuf::from("cargo"));
    assert!(!out.join("share").exists());
    let listed = store.list().unwrap();
    assert_eq!(listed[0].what, root.as_str());
}
