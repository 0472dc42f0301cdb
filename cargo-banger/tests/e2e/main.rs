//! `cargo banger` as its users meet it: the binary, real VMs, real files.
//!
//! Every test has its own state and sockets; images and layers are built once and shared. Where
//! this host cannot run VMs, or lacks what one test needs, that test says so and passes. Each
//! test that runs VMs prints how long it took.

#![expect(clippy::unwrap_used, reason = "tests, all of it")]

mod at_once;
mod attribute;
mod bad_input;
mod clones;
mod commands;
mod common;
mod failing_guests;
mod fetching;
mod furnished;
mod hostile_disks;
mod interrupts;
mod keeping;
mod killed;
mod listing;
mod network;
mod options;
mod other_users;
mod real_crates;
mod runner;
mod setup;
mod sync;
mod targets;
mod templates;
mod terminal;
mod untrusted;
mod verdicts;

/// A file that is not declared above would never run.
#[test]
fn every_file_here_is_part_of_the_suite() {
    let here = camino::Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e");
    let declared = fs_err::read_to_string(here.join("main.rs")).unwrap();
    for path in common::entries(&here) {
        let module = path.file_stem().unwrap();
        assert!(module == "main" || declared.contains(&format!("\nmod {module};\n")), "{path}");
    }
}
