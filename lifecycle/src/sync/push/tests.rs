use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;

use fs_err as fs;

use super::*;
use crate::sync::manifest::Manifest;
use crate::sync::testing::{
    Trees, noise, seconds, session, session_on_small_disk, set_mode, set_seconds,
};

#[tokio::test]
async fn a_first_sync_makes_an_equal_tree() {
    let Some(session) = session().await else {
        return;
    };
    let mut trees = Trees::new();
    trees.write("src/main.rs", "fn main() {}");
    trees.write("src/bin/tool.sh", "#!/bin/sh");
    trees.write("private", "x");
    trees.write("fixed", "x");
    trees.write("empty", "");
    trees.write("with space/new\nline/\"quote\" \u{e9}", "x");
    fs::create_dir(trees.host("nothing")).unwrap();
    set_mode(trees.host("src/bin/tool.sh"), 0o755);
    set_mode(trees.host("private"), 0o600);
    set_mode(trees.host("fixed"), 0o444);
    set_mode(trees.host("nothing"), 0o700);
    set_mode(trees.host("with space"), 0o1777);
    set_seconds(trees.host("private"), 1_234_567);
    symlink("src/main.rs", trees.host("good")).unwrap();
    symlink("../not/there", trees.host("dangling")).unwrap();
    symlink("/etc/passwd", trees.host("absolute")).unwrap();

    let (plan, sent) = trees.sync(&session).await.unwrap();
    trees.assert_same();
    assert_eq!((sent.files, sent.bytes), (plan.files(), plan.bytes()));
    assert_eq!(sent.corrections, []);
    assert_eq!(seconds(trees.mirror.join("private")), 1_234_567);

    let (plan, _) = trees.plan();
    assert!(plan.is_empty(), "{plan:?}");
}

#[tokio::test]
async fn one_changed_file_sends_exactly_one() {
    let Some(session) = session().await else {
        return;
    };
    let mut trees = Trees::new();
    for name in 0..20 {
        trees.write(format!("d/{name}"), "same");
    }
    set_mode(trees.host("d/7"), 0o444);
    trees.sync(&session).await.unwrap();

    fs::remove_file(trees.host("d/7")).unwrap();
    trees.write("d/7", "long and new");
    let (plan, sent) = trees.sync(&session).await.unwrap();
    assert_eq!((sent.files, sent.bytes), (1, 12));
    assert!(plan.deletions().is_empty() && plan.directories().is_empty());
    trees.assert_same();
    trees.write("d/7", "");
    trees.sync(&session).await.unwrap();
    trees.assert_same();
}

#[tokio::test]
async fn what_arrives_later_is_not_older_than_its_arrival() {
    let Some(session) = session().await else {
        return;
    };
    let mut trees = Trees::new();
    trees.write("old", "1");
    set_seconds(trees.host("old"), 1_000);
    trees.write("touched", "1");
    trees.sync(&session).await.unwrap();
    assert_eq!(seconds(trees.mirror.join("old")), 1_000);

    let before = Timestamp::now().seconds;
    trees.write("old", "2");
    set_seconds(trees.host("old"), 2_000);
    set_seconds(trees.host("touched"), 3_000);
    let (_, sent) = trees.sync(&session).await.unwrap();
    assert_eq!(sent.files, 1, "a time alone sends no content");
    assert!(seconds(trees.mirror.join("old")) >= before);
    assert_eq!(seconds(trees.mirror.join("touched")), 3_000);
    assert!(trees.plan().0.is_empty());
}

#[tokio::test]
async fn deletions_and_changes_of_kind_are_followed() {
    let Some(session) = session().await else {
        return;
    };
    let mut trees = Trees::new();
    trees.write("gone/deep/er/file", "x");
    trees.write("file to dir", "x");
    trees.write("dir to file/a/b", "x");
    trees.write("dir to link/a", "x");
    trees.write("file to link", "x");
    symlink("x", trees.host("link to dir")).unwrap();
    symlink("gone", trees.host("link to file")).unwrap();
    symlink("x", trees.host("moved link")).unwrap();
    trees.sync(&session).await.unwrap();
    trees.assert_same();

    for path in ["gone", "dir to file", "dir to link"] {
        fs::remove_dir_all(trees.host(path)).unwrap();
    }
    for path in ["file to dir", "file to link", "link to dir", "link to file", "moved link"] {
        fs::remove_file(trees.host(path)).unwrap();
    }
    trees.write("file to dir/a", "y");
    trees.write("dir to file", "y");
    trees.write("link to dir/a", "y");
    trees.write("link to file", "y");
    symlink("file to dir", trees.host("dir to link")).unwrap();
    symlink("elsewhere", trees.host("file to link")).unwrap();
    symlink("y", trees.host("moved link")).unwrap();
    trees.sync(&session).await.unwrap();
    trees.assert_same();
}

#[tokio::test]
async fn modes_alone_are_followed() {
    let Some(session) = session().await else {
        return;
    };
    let mut trees = Trees::new();
    trees.write("d/tool", "x");
    trees.sync(&session).await.unwrap();
    set_mode(trees.host("d/tool"), 0o755);
    set_mode(trees.host("d"), 0o711);
    let (_, sent) = trees.sync(&session).await.unwrap();
    assert_eq!(sent, Sent::default());
    trees.assert_same();
}

#[tokio::test]
async fn long_files_and_many_files_arrive_whole() {
    let Some(session) = session().await else {
        return;
    };
    let mut trees = Trees::new();
    trees.write("five megabytes", noise(0, 5_000_001));
    for (tag, length) in [(1, outbox::CHUNK - 1), (2, outbox::CHUNK), (3, outbox::CHUNK + 1)] {
        trees.write(format!("edge {tag}"), noise(tag, length));
    }
    for name in 0..2_000_u16 {
        trees.write(format!("many/{}/{name}", name % 7), name.to_string());
    }
    let (plan, new) = trees.plan();
    let last = Mutex::new((0, 0));
    let host = trees.root.host.as_std_path();
    let seen = |files, bytes| *last.lock().unwrap() = (files, bytes);
    let sent = push(&session.sftp, host, &trees.mirror, &plan, seen).await.unwrap();
    trees.known = Some(new);
    trees.assert_same();
    assert_eq!(sent.files, 2_004);
    assert_eq!(last.into_inner().unwrap(), (plan.files(), plan.bytes()));
    assert!(trees.plan().0.is_empty());
}

#[tokio::test]
async fn nothing_known_of_a_mirror_empties_it() {
    let Some(session) = session().await else {
        return;
    };
    let mut trees = Trees::new();
    trees.write("new", "x");
    fs::create_dir_all(trees.mirror.join("stale/dir")).unwrap();
    fs::write(trees.mirror.join("stale/dir/file"), "x").unwrap();
    symlink("/etc", trees.mirror.join("stale/etc")).unwrap();
    trees.sync(&session).await.unwrap();
    trees.assert_same();
    assert!(Path::new("/etc/passwd").exists());
}

#[tokio::test]
async fn a_push_that_died_is_repaired_by_the_next() {
    let Some(session) = session().await else {
        return;
    };
    let mut trees = Trees::new();
    trees.write("kept", "x");
    trees.write("changed", "x");
    trees.sync(&session).await.unwrap();

    trees.write("changed", "yy");
    trees.write("added/file", "y");
    symlink("kept", trees.host("added/link")).unwrap();
    let (plan, new) = trees.plan();
    let interim = Manifest::interim(trees.known.as_ref(), &new);
    let host = trees.root.host.clone();
    push(&session.sftp, host.as_std_path(), &trees.mirror, &plan, |_, _| {}).await.unwrap();
    // It dies before the manifest is saved, and the user changes everything back.
    trees.known = Some(interim);
    trees.write("changed", "x");
    fs::remove_dir_all(trees.host("added")).unwrap();
    let (plan, _) = trees.sync(&session).await.unwrap();
    assert_eq!(plan.files(), 1);
    trees.assert_same();

    // The same once more, but now everything is wanted still.
    trees.write("added/file", "y");
    symlink("kept", trees.host("added/link")).unwrap();
    let (plan, new) = trees.plan();
    let interim = Manifest::interim(trees.known.as_ref(), &new);
    push(&session.sftp, host.as_std_path(), &trees.mirror, &plan, |_, _| {}).await.unwrap();
    trees.known = Some(interim);
    trees.sync(&session).await.unwrap();
    trees.assert_same();
}

#[tokio::test]
async fn files_that_change_under_way_are_corrected() {
    let Some(session) = session().await else {
        return;
    };
    let mut trees = Trees::new();
    for name in ["grown", "long", "gone", "replaced"] {
        trees.write(name, "as scanned");
    }
    let (plan, mut new) = trees.plan();
    trees.write("grown", "no longer as scanned");
    trees.write("long", noise(0, 600_000));
    fs::remove_file(trees.host("gone")).unwrap();
    fs::remove_file(trees.host("replaced")).unwrap();
    symlink("/etc/passwd", trees.host("replaced")).unwrap();
    let host = trees.root.host.as_std_path();
    let sent = push(&session.sftp, host, &trees.mirror, &plan, |_, _| {}).await.unwrap();
    assert_eq!(sent.corrections.len(), 4, "{sent:?}");
    assert_eq!(sent.files, 2);
    assert!(!trees.mirror.join("gone").exists());
    new.amend(&sent);
    trees.known = Some(new);
    let (plan, sent) = trees.sync(&session).await.unwrap();
    trees.assert_same();
    assert_eq!(sent.files, 0, "what was sent is known: {plan:?}");
    assert_eq!(plan.symlinks().len(), 1);
}

#[tokio::test]
async fn a_name_that_is_not_text_is_refused_before_anything_is_sent() {
    let Some(session) = session().await else {
        return;
    };
    let mut trees = Trees::new();
    trees.write("good", "x");
    trees.write(OsStr::from_bytes(b"bad\xff"), "x");
    let error = trees.sync(&session).await.unwrap_err();
    assert!(matches!(&error, SyncError::NotUtf8 { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains(".bangerignore"));
    assert!(!trees.mirror.exists());
}

#[tokio::test]
async fn the_guests_refusal_names_the_path_and_its_words() {
    let Some(session) = session().await else {
        return;
    };
    let trees = Trees::new();
    trees.write("a/b", "x");
    let (plan, _) = trees.plan();
    let host = trees.root.host.as_std_path();
    let mirror = Path::new("/proc/self/mirror");
    let error = push(&session.sftp, host, mirror, &plan, |_, _| {}).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("cannot make directory `/proc/self/mirror` in the guest: "), "{text}");
}

#[tokio::test]
async fn a_full_guest_is_said_to_be_full() {
    let trees = Trees::new();
    fs::create_dir_all(&trees.mirror).unwrap();
    let Some(session) = session_on_small_disk(&trees.mirror).await else {
        return;
    };
    trees.write("small", "x");
    trees.write("large", noise(0, 8_000_000));
    let (plan, _) = trees.plan();
    let host = trees.root.host.as_std_path();
    let error = push(&session.sftp, host, &trees.mirror, &plan, |_, _| {}).await.unwrap_err();
    assert!(
        matches!(&error, SyncError::GuestFull { path } if path.ends_with("large")),
        "{error:?}"
    );
    assert!(error.hint().unwrap().contains("larger disk"));
}

#[tokio::test]
async fn a_lost_session_is_told_apart_from_a_refusal() {
    let Some(mut session) = session().await else {
        return;
    };
    let mut trees = Trees::new();
    trees.write("a", "x");
    session.kill().await;
    let error = trees.sync(&session).await.unwrap_err();
    assert!(matches!(error, SyncError::Session { .. }), "{error:?}");
}

#[tokio::test]
async fn both_ways_can_run_as_tasks() {
    let Some(session) = session().await else {
        return;
    };
    let trees = Trees::new();
    trees.write("a", "x");
    let (plan, _) = trees.plan();
    let (host, mirror) = (trees.host(""), trees.mirror.clone());
    let task = tokio::spawn(async move {
        push(&session.sftp, &host, &mirror, &plan, |_, _| {}).await.unwrap();
        let (guest, host, options) = (&*mirror, &*host, crate::sync::PullOptions::default());
        let wanted = crate::sync::Wanted { guest, host, handle: "0123abcd", options };
        crate::sync::pull(&session.sftp, wanted, |_| Ok(()), |_, _| {}).await.unwrap()
    });
    assert_eq!(task.await.unwrap().files, 1);
}
