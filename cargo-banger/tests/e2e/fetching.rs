//! `--out` from guests that are up to no good: what they send goes where the user said, or nowhere.

use std::time::Duration;

use camino::Utf8PathBuf;
use fs_err as fs;
use rustix::process::Signal;

use crate::common::{TestEnvironment, entries, eventually};

/// Puts a script in the place of the guest's SFTP server. It gives its version, and goes on where the
/// first request's number is next.
fn serve(then: &str) -> String {
    format!(
        r#"cat >/usr/lib/openssh/sftp-server <<'END'
#!/bin/sh
PATH=/usr/bin:/bin
printf '\0\0\0\5\2\0\0\0\3'; dd bs=1 count=14 of=/dev/null 2>/dev/null
{then}
END
chmod +x /usr/lib/openssh/sftp-server"#
    )
}

/// The private directories of fetches.
fn staging(env: &TestEnvironment) -> Vec<Utf8PathBuf> {
    let mut found = entries(env.work());
    found.retain(|path| path.file_name().is_some_and(|name| name.starts_with(".banger-fetch-")));
    found
}

#[test]
fn nothing_is_written_by_way_of_a_link_that_a_guest_sent() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let victim = env.work().join("victim");
    fs::create_dir(&victim).unwrap();
    let script = format!(
        "mkdir -p /a/tree /b/coverage; ln -s {victim} /a/reports; ln -s {victim} /a/tree/away; \
         ln -s file /a/tree/near; echo x >/a/tree/file; echo x >/b/coverage/f"
    );
    let run = |flags: &[&str]| {
        env.banger(["run", "--no-sync"]).args(flags).args(["--", "sh", "-c", &script]).run()
    };
    let outs = ["--out", "/a/reports:reports", "--out", "/b/coverage:reports/coverage"];
    run(&outs).code(246).says(&["`/a/reports` in the guest is a symbolic link", "--out-links"]);
    assert!(env.work().join("reports").is_dir(), "the second one came all the same");
    fs::remove_dir_all(env.work().join("reports")).unwrap();
    let asked = [&["--out-links"], &outs[..]].concat();
    run(&asked).code(246).says(&["reports` is a symbolic link", "give the path that it leads to"]);
    assert_eq!(entries(&victim).len(), 0);

    run(&["--out", "/a/tree:tree"]).code(0).says(&["not fetched: `/a/tree/away`"]);
    assert_eq!(fs::read_to_string(env.work().join("tree/near")).unwrap(), "x\n");
    assert!(!env.work().join("tree/away").is_symlink());
    assert!(staging(&env).is_empty());
    env.assert_nothing_left();
}

#[test]
fn a_server_that_lies_ends_the_fetch_and_no_more() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let script = serve("yes >&2 & exec yes");
    let args = ["run", "--no-sync", "--out", "/etc/hosts:hosts", "--", "sh", "-c", &script];
    let outcome = env.banger(args).limit(Duration::from_secs(90)).run();
    outcome.code(246).says(&["answered with a packet of 2030729482 bytes"]);
    assert!(!env.work().join("hosts").exists());
    env.assert_nothing_left();
}

#[test]
fn what_a_killed_fetch_left_goes_with_the_next_command() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    // It says that it is a directory, and no more.
    let script = serve(
        r"printf '\0\0\0\15\151'; dd bs=1 count=4 2>/dev/null
        printf '\0\0\0\4\0\0\101\355'; exec sleep 600",
    );
    let args = ["run", "--no-sync", "--out", "/etc/hosts:hosts", "--", "sh", "-c", &script];
    let running = env.banger(args).start();
    eventually(Duration::from_secs(60), "a fetch is under way", || !staging(&env).is_empty());
    running.signal(Signal::KILL);
    drop(running.finish());
    assert_eq!(staging(&env).len(), 1);
    env.banger(["gc"]).run().code(0);
    assert!(staging(&env).is_empty());
    env.assert_nothing_left();
}
