//! A command's status and streams arrive as it gave them.

use crate::common::TestEnvironment;

#[test]
fn the_exit_status_is_the_commands() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    env.sh("exit 7").run().code(7);
    env.banger(["run", "--no-sync", "--", "no-such-command"])
        .run()
        .code(127)
        .says(&["no-such-command"]);
    env.sh("kill -9 $$").run().code(128 + 9);
    env.assert_nothing_left();
}

#[test]
fn streams_arrive_apart_and_binary_input_survives() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let input = noise(5_000_000);
    let script = "echo to stderr >&2; cat; echo again >&2";
    let args = ["--quiet", "run", "--no-sync", "--", "sh", "-c", script];
    let outcome = env.banger(args).input(input.clone()).run().code(0);
    assert!(outcome.stdout == input, "{} of {} bytes", outcome.stdout.len(), input.len());
    assert_eq!(outcome.stderr, "to stderr\nagain\n");
}

#[test]
fn a_command_that_reads_nothing_ends_although_input_remains() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    env.sh("exec 0<&-; exit 3").input(noise(5_000_000)).run().code(3);
}

#[test]
fn a_hundred_megabytes_arrive_complete() {
    const SIZE: usize = 100 << 20;
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    // No part repeats, so that nothing lost or swapped goes unnoticed.
    let outcome = env.sh("seq 10000000 99999999 | head -c 104857600").run().code(0);
    let mut expected = Vec::with_capacity(SIZE + 9);
    for number in 10_000_000_u32.. {
        expected.extend(format!("{number}\n").bytes());
        if expected.len() >= SIZE {
            break;
        }
    }
    expected.truncate(SIZE);
    assert_eq!(outcome.stdout.len(), SIZE);
    assert!(outcome.stdout == expected, "the content differs");
}

/// Bytes of every value in no order, the same each time (xorshift, Marsaglia 2003).
fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}
