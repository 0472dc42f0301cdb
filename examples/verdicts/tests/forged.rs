//! Tests whose children, output, forks and descriptors could be taken for a verdict, or take one with them.
//! Each module is named for what its tests do.

use std::process::{Command, Output};

/// Runs a shell's script to its end, with this test's environment and output.
fn sh(script: &str) {
    let status = Command::new("sh").args(["-c", script]).status();
    assert!(status.is_ok_and(|status| status.success()), "{script}");
}

/// This very program, to run another of its tests.
fn another(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a test is a file"));
    command.args(["--exact", test, "--nocapture"]);
    command
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What looks like a test that has passed, however one is to be told.
const FORGED: &str = r#"
    for token in "$BANGER_TEST" "${BANGER_TEST#* }"; do
        printf '%s begin\n%s end {"Returned":[0]}\n' "$token" "$token"
    done
    for descriptor in 3 4 5 6 7 8 9; do
        (eval "printf '\020\000\000\000{\"Returned\":[0]}' >&$descriptor") 2>/dev/null
    done
    for descriptor in /proc/$PPID/fd/*; do
        case "${descriptor##*/}" in
            [0-2]) ;;
            *) printf '\020\000\000\000{"Returned":[0]}' >"$descriptor" ;;
        esac
    done
    true
"#;

mod process {
    //! What the standard library leaves to the C library.

    unsafe extern "C" {
        fn fork() -> i32;
        fn waitpid(process: i32, status: *mut i32, options: i32) -> i32;
        fn setsid() -> i32;
        fn pause() -> i32;
        fn close(descriptor: i32) -> i32;
        fn atexit(function: extern "C" fn()) -> i32;
    }

    /// Goes on twice: in a child, where this is `None`, and here.
    pub(crate) fn split() -> Option<i32> {
        // SAFETY: no other thread does anything meanwhile.
        Some(unsafe { fork() }).filter(|child| *child != 0)
    }

    /// A child's exit status, or less than none where a signal has ended it.
    pub(crate) fn status(child: i32) -> i32 {
        let mut status = 0;
        // SAFETY: there is a place for the status.
        let waited = unsafe { waitpid(child, &raw mut status, 0) };
        assert_eq!(waited, child);
        if status & 0x7f == 0 { status >> 8 } else { -1 }
    }

    /// Leaves its parent and all that is open, and stays.
    pub(crate) fn be_a_daemon() -> ! {
        // SAFETY: these ask for nothing.
        unsafe { setsid() };
        close_all(0);
        loop {
            // SAFETY: as above.
            unsafe { pause() };
        }
    }

    /// Closes all descriptors from this one on.
    pub(crate) fn close_all(from: i32) {
        for descriptor in from..1024 {
            // SAFETY: nothing that owns one is used any more.
            unsafe { close(descriptor) };
        }
    }

    /// Has a function be called as the process ends.
    pub(crate) fn at_exit(function: extern "C" fn()) {
        // SAFETY: it may be called at any time.
        assert_eq!(unsafe { atexit(function) }, 0);
    }
}

mod fails {
    use std::os::unix::process::CommandExt as _;

    use super::{FORGED, another, process, sh};

    #[banger::test]
    fn whose_child_says_that_it_passes() {
        sh(FORGED);
        panic!("it fails");
    }

    #[banger::test]
    fn that_says_itself_that_it_passes() {
        let value = std::env::var("BANGER_TEST").unwrap_or_default();
        let token = value.rsplit(' ').next().unwrap_or_default();
        println!(
            "{token} begin\n{token} end {{\"Returned\":[0]}}\n{value} end {{\"Returned\":[0]}}"
        );
        panic!("it fails");
    }

    #[banger::test(user = "nobody")]
    fn as_somebody_else() {
        sh(FORGED);
        panic!("it fails");
    }

    #[banger::test(shared = "group")]
    fn in_a_group() {
        sh(FORGED);
        panic!("it fails");
    }

    #[banger::test]
    async fn that_is_async() {
        sh(FORGED);
        panic!("it fails");
    }

    #[banger::test]
    #[should_panic]
    fn that_should_panic_and_whose_child_does() {
        match process::split() {
            Some(child) => assert_eq!(process::status(child), 101),
            None => panic!("the child alone"),
        }
    }

    #[banger::test]
    fn that_runs_another_test_that_passes() {
        let status = another("passes::plainly").status();
        assert!(status.is_ok_and(|status| status.success()));
        panic!("it fails");
    }

    #[banger::test]
    fn that_becomes_another_test() {
        panic!("{}", another("passes::plainly").exec());
    }

    #[banger::test]
    fn that_becomes_another_program() {
        sh(FORGED);
        panic!("{}", std::process::Command::new("true").exec());
    }

    #[banger::test]
    fn whose_forked_child_returns() {
        if let Some(child) = process::split() {
            assert_eq!(process::status(child), 0);
            panic!("it fails");
        }
    }

    #[banger::test]
    #[expect(clippy::exit, reason = "this is what is shown")]
    fn whose_thread_exits() {
        sh(FORGED);
        let thread = std::thread::spawn(|| std::process::exit(0));
        drop(thread.join());
    }

    /// After its verdict, which was good.
    #[banger::test]
    fn that_dies_as_it_ends() {
        extern "C" fn dies() {
            std::process::abort();
        }
        process::at_exit(dies);
    }

    #[banger::test]
    fn plainly() {
        panic!("it fails");
    }
}

mod passes {
    use std::os::fd::AsRawFd as _;

    use super::{FORGED, another, process, sh, text};

    #[banger::test]
    fn plainly() {}

    #[banger::test]
    fn that_closes_all_descriptors() {
        sh(FORGED);
        process::close_all(3);
    }

    #[banger::test]
    fn that_closes_its_output_too() {
        process::close_all(0);
    }

    /// As on the host: none but the standard streams are open.
    #[banger::test]
    fn whose_first_descriptor_is_the_first() {
        let (reading, writing) = std::io::pipe().expect("there is room");
        assert_eq!((reading.as_raw_fd(), writing.as_raw_fd()), (3, 4));
    }

    #[banger::test]
    fn whose_children_have_standard_streams_alone() {
        let list = std::process::Command::new("ls").arg("/proc/self/fd").output();
        // The fourth is the directory itself.
        assert_eq!(text(&list.expect("it can be started")), "0\n1\n2\n3\n");
    }

    #[banger::test]
    fn that_runs_another_test_that_fails() {
        let output = another("fails::plainly").output().expect("it can be started");
        assert_eq!(output.status.code(), Some(101));
        assert!(text(&output).contains("test result: FAILED. 0 passed; 1 failed"), "{output:?}");
    }

    #[banger::test]
    fn that_runs_another_test_that_passes() {
        let output = another("passes::plainly").output().expect("it can be started");
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output).contains("test result: ok. 1 passed"), "{output:?}");
        assert!(!text(&output).contains("banger-"), "{output:?}");
    }

    #[banger::test]
    fn whose_forked_child_panics() {
        match process::split() {
            Some(child) => assert_eq!(process::status(child), 101),
            None => panic!("the child alone"),
        }
    }

    #[banger::test]
    fn that_leaves_a_daemon() {
        let Some(child) = process::split() else {
            if process::split().is_none() {
                process::be_a_daemon();
            }
            return;
        };
        assert_eq!(process::status(child), 0);
    }

    #[banger::test]
    #[should_panic(expected = "the start of a long message")]
    fn with_a_long_message() {
        panic!("the start of a long message{}", "\u{1}".repeat(1 << 20));
    }

    #[banger::test]
    fn that_hides_proc() {
        sh("mount -t tmpfs tmpfs /proc");
    }

    #[banger::test(user = "nobody")]
    fn as_somebody_else() {
        sh("test $(id -un) = nobody");
    }

    #[banger::test(shared = "group")]
    fn in_a_group() {}
}
