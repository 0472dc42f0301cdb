//! Tests that bring their VM down, or themselves: each has to be seen as what it is.

use std::io::Write as _;

#[banger::test(ram = 256)]
fn runs_out_of_memory() {
    let mut hoard = Vec::new();
    loop {
        hoard.push(vec![1_u8; 16 << 20]);
    }
}

#[banger::test]
fn panics_the_kernel() {
    let mut trigger = std::fs::OpenOptions::new().write(true).open("/proc/sysrq-trigger").unwrap();
    trigger.write_all(b"c").unwrap();
}

#[banger::test]
fn powers_off() {
    let mut trigger = std::fs::OpenOptions::new().write(true).open("/proc/sysrq-trigger").unwrap();
    trigger.write_all(b"o").unwrap();
    std::thread::sleep(std::time::Duration::from_secs(60));
}

#[banger::test]
fn kills_all_that_it_can() {
    // Also the process that runs it: only process 1 and this one stay.
    std::process::Command::new("kill").args(["-KILL", "--", "-1"]).status().unwrap();
    std::thread::sleep(std::time::Duration::from_secs(60));
}

#[banger::test(ram = 256)]
#[should_panic]
fn a_lost_machine_is_no_panic_of_the_test() {
    panics_the_kernel_by_hand();
}

fn panics_the_kernel_by_hand() {
    let mut trigger = std::fs::OpenOptions::new().write(true).open("/proc/sysrq-trigger").unwrap();
    trigger.write_all(b"c").unwrap();
}

#[banger::test]
#[ignore = "never ends: for those who want to kill it"]
fn waits() {
    println!("waiting");
    std::thread::sleep(std::time::Duration::from_secs(3600));
}
