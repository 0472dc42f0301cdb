//! banger's process in the guest: reads batches of steps from the console and carries them out.
//!
//! ```text
//! host: begin ⇥ 7
//!       hostname ⇥ otter
//!       go               guest: banger: done 7        or: banger: failed 7 hostname: error 1
//! ```
//!
//! One step a line, fields parted by tabs, `\n`, `\t` and `\\` escaped; a step is carried out as
//! it arrives, and the first that fails is the batch's result. It must be small and start fast
//! under emulation and in any root filesystem, so it is static, has no standard library and no
//! allocator. The host's end is `agent` in the lifecycle crate.
#![no_std]
#![no_main]

mod console;
mod network;
mod steps;
mod system;
mod text;
mod vsock;

use console::Console;
use steps::Failure;

/// A batch under way.
struct Batch {
    /// Its number, as digits.
    number: [u8; 20],
    length: usize,
    failure: Option<Failure>,
}

impl Batch {
    const fn none() -> Self {
        Self { number: [0; 20], length: 0, failure: None }
    }

    fn begin(number: &[u8]) -> Self {
        let mut this = Self::none();
        this.length = number.len().min(this.number.len());
        this.number[..this.length].copy_from_slice(&number[..this.length]);
        this
    }

    fn number(&self) -> &[u8] {
        &self.number[..self.length]
    }
}

// The kernel starts us with an aligned stack; a function expects one that a call has been made on.
#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(".globl _start", "_start:", "call {run}", run = sym run);
#[cfg(target_arch = "aarch64")]
core::arch::global_asm!(".globl _start", "_start:", "bl {run}", run = sym run);

extern "C" fn run() -> ! {
    let console = Console::open();
    if vsock::is_wanted()
        && let Err(error) = vsock::serve(take_batches)
    {
        let mut digits = [0; 20];
        Console::tell(&[b"gave up: no vsock: error ", text::decimal(error, &mut digits)]);
    }
    Console::tell(&[b"ready"]);
    take_batches(console);
    system::exit(0)
}

/// Carries out what comes, until nobody is there any more.
fn take_batches(mut console: Console) {
    let mut batch = Batch::none();
    while let Some(line) = console.line() {
        let mut fields = text::fields(line);
        let step = fields.next().unwrap_or_default();
        match step {
            b"" => {}
            b"begin" => batch = Batch::begin(fields.next().unwrap_or_default()),
            b"go" => answer(&batch),
            _ if batch.failure.is_some() => {}
            _ => batch.failure = steps::perform(step, fields).err(),
        }
        // Whoever opens the console, systemd among them, may turn echo on again.
        if step == b"go" {
            Console::make_raw();
        }
    }
}

fn answer(batch: &Batch) {
    match &batch.failure {
        None => Console::tell(&[b"done ", batch.number()]),
        Some(failure) => {
            let mut digits = [0; 20];
            let code = text::decimal(failure.code, &mut digits);
            Console::tell(&[b"failed ", batch.number(), b" ", failure.step, b": error ", code]);
        }
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    Console::tell(&[b"gave up: the agent panicked"]);
    system::exit(1)
}
