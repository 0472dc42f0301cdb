//! Builds the guest's agent, which is part of every VM: `agent/`, static and without a library.

use std::path::PathBuf;
use std::process::Command;

/// What makes a program that starts in any root filesystem, and fast.
const FLAGS: &[&str] = &[
    "--edition=2024",
    "--crate-name=agent",
    "--crate-type=bin",
    "-Copt-level=2",
    "-Cpanic=abort",
    "-Cstrip=symbols",
    "-Crelocation-model=static",
    "-Clink-arg=-nostartfiles",
    "-Clink-arg=-nostdlib",
    "-Clink-arg=-static",
];

fn main() {
    println!("cargo::rerun-if-changed=agent");
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"));
    let agent = PathBuf::from(variable("OUT_DIR")).join("agent");
    let mut rustc = Command::new(variable("RUSTC"));
    rustc.args(FLAGS).arg("--target").arg(variable("TARGET"));
    rustc.arg("-o").arg(&agent).arg("agent/main.rs");
    let status = rustc.status().expect("cargo's own rustc can be started");
    assert!(status.success(), "the guest's agent cannot be built: {rustc:?}");
}
