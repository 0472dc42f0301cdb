//! banger's process in the guest: takes batches of steps and carries them out, and runs commands.
//!
//! `agent [ports|vsock]` is reached on the console, and over ports of a virtio console or over vsock;
//! `agent commands` runs commands over its standard input, a socket. Steps look so:
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

mod commands;
mod compiler;
mod console;
mod frames;
mod leader;
mod network;
mod ports;
mod process;
mod program;
mod steps;
mod streams;
mod system;
mod text;
mod verdict;
mod vsock;

use core::ffi::{CStr, c_char};

use console::Console;
use process::{PIPE, Reaction, Worth};
use steps::Failure;
use system::File;

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

// The kernel starts us with an aligned stack, on which lie the number of arguments and their
// addresses; a function expects one that a call has been made on.
#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(".globl _start", "_start:", "mov rdi, rsp", "call {run}", run = sym run);
#[cfg(target_arch = "aarch64")]
core::arch::global_asm!(".globl _start", "_start:", "mov x0, sp", "bl {run}", run = sym run);

/// # Safety
/// `stack` is the stack as the kernel made it.
unsafe extern "C" fn run(stack: *const usize) -> ! {
    // SAFETY: the number of arguments comes first, then as many addresses of texts.
    let way = unsafe {
        (*stack > 1).then(|| CStr::from_ptr((*stack.add(2)) as *const c_char).to_bytes())
    };
    // Only where a guest's memory runs out does it matter.
    let _ = process::be_worth(&Worth::Agent);
    // Who goes away is told by what is written next.
    let _ = process::react(PIPE, Reaction::Ignore);
    if way == Some(b"commands") {
        let _ = commands::serve(&File::standard_input());
        process::exit(0);
    }
    let console = Console::open();
    let served = match way {
        Some(b"ports") => ports::serve(take_batches),
        Some(b"vsock") => vsock::serve(take_batches),
        _ => Ok(()),
    };
    match served {
        Ok(()) => Console::tell(&[b"ready"]),
        Err(error) => {
            let (way, mut digits) = (way.unwrap_or_default(), [0; 20]);
            let digits = text::decimal(error, &mut digits);
            Console::tell(&[b"gave up: the guest has no ", way, b": error ", digits]);
            process::exit(1);
        }
    }
    take_batches(console);
    // Who is reached elsewhere minds no console that was hung up.
    while way.is_some() {
        system::sleep_ms(u64::from(u32::MAX));
    }
    process::exit(0)
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
    process::exit(1)
}
