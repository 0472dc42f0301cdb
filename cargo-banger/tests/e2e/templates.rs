//! Templates: made once, private, thrown away when they are no good.

use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::time::Duration;

use camino::Utf8PathBuf;
use fs_err as fs;
use rustix::process::Signal;

use crate::common::{Outcome, TestEnvironment, entries, eventually};

/// How many VMs come and go in [`clones_come_and_go`], and how many at once.
const CLONES: usize = 24;
const AT_ONCE: usize = 8;

#[test]
fn a_template_is_made_once_listed_and_removed() {
    let Some(env) = TestEnvironment::sharing_images_only(1) else { return };
    env.sh("exit 7").run().code(7).says(&["making a template"]);
    env.sh("exit 8").run().code(8).does_not_say("making a template");
    let list = env.banger(["template", "list", "--json"]).run().code(0);
    let list: serde_json::Value = serde_json::from_slice(&list.stdout).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 1, "{list}");
    assert_eq!(list[0]["damaged"], false, "{list}");
    let key = list[0]["key"].as_str().unwrap();
    env.banger(["template", "list"]).run().code(0).text().find(&key[..12]).unwrap();

    env.banger(["template", "rm", "nonsense"]).run().code(240).says(&["`nonsense`"]);
    env.banger(["template", "rm", &key[..8]]).run().code(0);
    env.sh("exit 9").run().code(9).says(&["making a template"]);
    env.banger(["gc", "--templates", "64M"]).run().code(0).text().find("template").unwrap();
    env.banger(["run", "--no-sync", "--cold", "--", "true"]).run().code(0);
    assert!(templates(&env).is_empty());
    env.assert_nothing_left();
}

#[test]
fn guest_memory_is_its_owners_alone() {
    let Some(env) = TestEnvironment::sharing_images_only(1) else { return };
    env.sh("true").run().code(0);
    let mode = |path: &Utf8PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&env.cache().join("templates")), 0o700);
    for name in ["memory", "state", "initrd.cpio"] {
        assert_eq!(mode(&templates(&env)[0].join(name)), 0o600, "{name}");
    }
}

#[test]
fn a_template_of_no_use_is_thrown_away_and_the_vm_boots_cold() {
    let Some(env) = TestEnvironment::sharing_images_only(1) else { return };
    let status = |outcome: Outcome| outcome.code(5);
    status(env.sh("exit 5").run());
    // As long as it was, so that only restoring it tells.
    let state = templates(&env)[0].join("state");
    let file = fs::OpenOptions::new().write(true).open(&state).unwrap();
    file.file().write_all_at(&[0xff; 4096], 100).unwrap();
    let outcome = status(env.sh("exit 5").run());
    outcome.says(&["does not restore", "thrown away", "booting cold"]);
    assert!(templates(&env).is_empty());

    status(env.sh("exit 5").run()).says(&["making a template"]);
    // Cut short: seen before anything is started.
    fs::OpenOptions::new()
        .write(true)
        .open(templates(&env)[0].join("memory"))
        .unwrap()
        .set_len(9)
        .unwrap();
    status(env.sh("exit 5").run()).says(&["the template is damaged, making it anew"]);
    status(env.sh("exit 5").run()).does_not_say("template");
    env.assert_nothing_left();
}

#[test]
fn a_killed_maker_leaves_nothing_and_others_go_on() {
    let Some(env) = TestEnvironment::sharing_images_only(3) else { return };
    let maker = env.sh("exit 1").start();
    let unfinished = || {
        let all = entries(&env.cache().join("templates")).into_iter();
        all.filter(|path| path.file_name().is_some_and(|name| name.starts_with(".tmp-"))).count()
    };
    eventually(Duration::from_secs(60), "a template is being made", || unfinished() == 1);
    let waiting = [2, 3].map(|status| (status, env.sh(&format!("exit {status}")).start()));
    // Anywhere in the boot of its guest.
    std::thread::sleep(Duration::from_millis(700));
    maker.signal(Signal::KILL);
    drop(maker.finish());
    for (status, running) in waiting {
        running.finish().code(status);
    }
    assert_eq!((unfinished(), templates(&env).len()), (0, 1));
    env.banger(["gc"]).run().code(0);
    env.assert_nothing_left();
}

#[test]
fn clones_come_and_go() {
    let Some(env) = TestEnvironment::sharing_images(4) else { return };
    env.sh("true").run().code(0);
    for round in 0..CLONES / AT_ONCE {
        let started: Vec<_> = (0..AT_ONCE)
            .map(|number| (number, env.sh(&format!("echo {round}; exit {number}")).start()))
            .collect();
        for (number, running) in started {
            let outcome = running.finish().code(i32::try_from(number).unwrap());
            assert_eq!(outcome.text(), format!("{round}\n"));
        }
    }
    env.assert_nothing_left();
}

#[test]
fn a_clone_of_systemd_is_complete_when_it_starts() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let script = "systemctl is-system-running; systemctl start systemd-timedated && echo started";
    let args = ["run", "--no-sync", "--init", "systemd", "--", "sh", "-c", script];
    for _ in 0..2 {
        let outcome = env.banger(args).run().code(0);
        assert_eq!(outcome.text(), "running\nstarted\n", "{outcome}");
    }
    env.assert_nothing_left();
}

/// The directories of whole templates.
fn templates(env: &TestEnvironment) -> Vec<Utf8PathBuf> {
    let whole = |path: &Utf8PathBuf| path.join("template.json").exists();
    entries(&env.cache().join("templates")).into_iter().filter(whole).collect()
}
