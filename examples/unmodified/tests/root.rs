//! Tests that need root and change the machine: they mount, name, chroot, add network devices, and
//! tidy up little. In a VM there is nothing to tidy up for.

#![expect(clippy::disallowed_methods, reason = "an example without fs_err")]

use std::path::PathBuf;
use std::process::{Command, Output};

/// Whether the machine may be changed. For the sake of those who work on banger and run this
/// without it: tests that are always run in VMs need no such line.
fn is_throwaway() -> bool {
    let command_line = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let vm = command_line.split_whitespace().any(|word| word == "banger.guest=1");
    if !vm {
        eprintln!("not run: this is no VM");
    }
    vm
}

/// Runs a command of plain words, which has to succeed; returns what it printed.
fn run(command: &str) -> String {
    let Output { status, stdout, stderr } = output(command);
    assert!(status.success(), "`{command}`: {status}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8_lossy(&stdout).trim().to_owned()
}

fn output(command: &str) -> Output {
    let mut words = command.split_whitespace();
    let program = words.next().expect("a command has a program");
    Command::new(program).args(words).output().expect("the machine has it")
}

/// A new directory. Nobody removes it.
fn directory(name: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(name);
    std::fs::create_dir(&directory).expect("the machine is new");
    directory
}

#[test]
fn the_program_knows_a_mount_that_was_just_made() {
    if !is_throwaway() {
        return;
    }
    let directory = directory("mounted");
    let (program, point) = (env!("CARGO_BIN_EXE_mounted"), directory.display());
    assert_ne!(run(&format!("{program} {point}/file")), "ramfs");
    run(&format!("mount -t ramfs ramfs {point}"));
    assert_eq!(run(&format!("{program} {point}/file")), "ramfs");
}

#[test]
fn the_program_says_that_it_has_no_proc_in_a_chroot() {
    if !is_throwaway() {
        return;
    }
    let directory = directory("jail");
    let jail = directory.display();
    // The root filesystem alone, without what is mounted on it, and a corner to write to.
    run(&format!("mount --bind / {jail}"));
    run(&format!("mount -t tmpfs tmpfs {jail}/mnt"));
    std::fs::copy(env!("CARGO_BIN_EXE_mounted"), directory.join("mnt/mounted")).unwrap();
    let Output { status, stderr, .. } = output(&format!("chroot {jail} /mnt/mounted /"));
    assert_eq!(status.code(), Some(1));
    let message = String::from_utf8_lossy(&stderr);
    assert!(message.starts_with("mounted: /proc/self/mounts: No such file"), "{message}");
}

#[test]
fn the_machine_takes_another_name() {
    if !is_throwaway() {
        return;
    }
    run("hostname unmodified");
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(name, "unmodified\n");
}

#[test]
fn a_network_device_comes_up() {
    if !is_throwaway() {
        return;
    }
    run("ip link add dummy7 type dummy");
    run("ip address add 10.77.0.1/24 dev dummy7");
    run("ip link set dummy7 up");
    let socket = std::net::TcpListener::bind("10.77.0.1:0").expect("the address is ours");
    assert!(run("ip -brief address show dev dummy7").contains("10.77.0.1/24"));
    drop(socket);
}
