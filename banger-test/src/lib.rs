//! Tests that run in throwaway VMs: each in a fresh Linux machine of its own, at nearly the cost of
//! a process.
//!
//! ```
//! #[banger::test]
//! fn the_machine_is_ours() {
//!     std::fs::write("/etc/motd", "nobody will ever see this\n").unwrap();
//! }
//! ```
//!
//! Such a test is a test like any other, for `cargo test`, nextest and editors: built on the host,
//! listed and selected by its name, with its output captured and its panics told with file and
//! line. What differs is where its body runs. The first use makes a Debian image, which takes a
//! minute or two, and a template; from then on a VM is ready in a fraction of a second. It has the
//! workspace's files under their own paths and writes to a copy of them; nothing it does reaches the
//! host.
//!
//! The tests start `cargo-banger`, which has to be on `PATH`, or named by `BANGER_BIN`:
//! `cargo install --locked cargo-banger`. What the host lacks, `cargo banger doctor` says.
//!
//! # Options
//!
//! `#[banger::test(ram = 2048, net, …)]`. What is left out comes from `BANGER_*` variables and from
//! `[package.metadata.banger]`, as `cargo banger config` tells.
//!
//! | option | is | |
//! |---|---|---|
//! | `vcpu`, `ram`, `overlay_size` | `4`, `2048` (MiB), `"8G"` | the VM's shape |
//! | `image` | `"bullseye"` | its Debian suite |
//! | `packages` | `"tests/packages.apt"` | its package list, relative to `Cargo.toml` |
//! | `init` | `"systemd"` | process 1: `quick` or `systemd` |
//! | `net` | alone, or `"none"` | whether it reaches the outside |
//! | `timeout` | `"30s"` | how long the test may take, once its VM is up |
//! | `env` | `["K=V"]` | variables for it |
//! | `files` | `["/etc/services", "big.bin:/srv/big.bin"]` | files from outside the workspace |
//! | `user` | `"nobody"` | who runs it, made if need be; root as a rule |
//! | `shared` | `"database"` | the group of tests that use one VM, one after another |
//! | `matrix` | `["bookworm", "bullseye"]` | one test for each of these suites |
//!
//! The function may be `async`, return what `#[test]` accepts, and carry `#[ignore]` and
//! `#[should_panic]`. A wrong option or form is an error of the compiler.
//!
//! # When a test fails
//!
//! Its output, and where the guest was lost the end of its console, are in the test's output. With
//! `BANGER_KEEP_ON_FAILURE=1` the VM stays, and a line says how to get in: `cargo banger shell NAME`.
//!
//! # What else there is
//!
//! [`Vm`] starts VMs from code that stays on the host. `banger::main!` runs the tests without the default
//! harness, with VMs started ahead and [`skip`] counted as ignored; it needs the feature `harness`.
//! The feature `tokio` runs `async` tests on a tokio runtime.
//!
//! # What differs from `#[test]`
//!
//! - The test is alone in its process: statics are its own, and it may change directory or users.
//! - Exiting with any status, 0 too, before the test has returned fails it.
//! - Standard input is empty, and output that is no UTF-8 is replaced.
//! - In a VM of banger's, that is below `cargo banger run`, the body runs right there.

mod block_on;
mod case;
mod error;
#[cfg(feature = "harness")]
mod harness;
mod inside;
mod outcome;
mod output;
mod outside;
mod skip;
mod supervisor;
mod verdict;
mod verdict_file;
mod vm;

pub use banger_macros::test;
use banger_protocol::guest;

pub use crate::error::Error;
pub use crate::skip::skip;
pub use crate::vm::{Builder, Command, Output, Vm};

/// Whether this process runs in a guest of banger, which is told by the kernel's command line. Where that
/// cannot be read (no `/proc`), it does not.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "what fails here is not told, so no path is lost")]
pub fn in_vm() -> bool {
    std::fs::read("/proc/cmdline")
        .is_ok_and(|line| guest::is_guest(&String::from_utf8_lossy(&line)))
}

/// The `main` function of a test target with `harness = false`: runs its `#[banger::test]`s, several
/// at a time, and starts the next one's VM while one runs. Takes the default harness's command line.
///
/// ```toml
/// [[test]]
/// name = "vms"
/// harness = false
/// ```
#[cfg(feature = "harness")]
#[macro_export]
macro_rules! main {
    () => {
        fn main() -> ::std::process::ExitCode {
            $crate::__private::main()
        }
    };
}

/// For the code that `#[banger::test]` and `main!` generate; no part of the interface.
#[doc(hidden)]
pub mod __private {
    pub use crate::block_on::block_on;
    pub use crate::case::Case;
    #[cfg(feature = "harness")]
    pub use crate::harness::main;
    pub use crate::outcome::{Outcome, report};
    pub use crate::verdict::{run, run_to_panic};
    #[cfg(feature = "harness")]
    pub use inventory::submit;
}
