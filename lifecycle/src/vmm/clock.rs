//! The host's time-stamp counter, measured for emulated guests.
//!
//! Under TCG the guest's TSC is the host's, but the guest cannot calibrate it: QEMU's microvm has
//! neither HPET nor PM timer, and calibration against the emulated PIT fails at random on a busy
//! host, after which the kernel waits for ever. So the kernel is told (`tsc_early_khz`).

use std::time::{Duration, Instant};

use super::Accelerator;

/// How long the measurement takes. 5 ms against a clock good to some 50 ns is exact to 10 ppm.
const SAMPLE: Duration = Duration::from_millis(5);

/// What a guest that boots is told of its clock: only an emulated one cannot find out itself.
pub(crate) fn told_at_boot(accelerator: Accelerator) -> Option<u64> {
    match accelerator {
        Accelerator::Tcg => tsc_khz(),
        Accelerator::Kvm => None,
    }
}

/// The TSC's frequency in kHz; `None` on an architecture without one. Blocks for 5 ms.
fn tsc_khz() -> Option<u64> {
    let (start_ticks, start) = (ticks()?, Instant::now());
    std::thread::sleep(SAMPLE);
    let (end_ticks, took) = (ticks()?, start.elapsed());
    u64::try_from(u128::from(end_ticks - start_ticks) * 1_000_000 / took.as_nanos()).ok()
}

#[cfg(target_arch = "x86_64")]
fn ticks() -> Option<u64> {
    // SAFETY: every x86_64 processor has RDTSC, and reading it has no effect on memory.
    Some(unsafe { std::arch::x86_64::_rdtsc() })
}

#[cfg(not(target_arch = "x86_64"))]
fn ticks() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn two_measurements_agree() {
        let (one, two) = (super::tsc_khz().unwrap(), super::tsc_khz().unwrap());
        assert!(one.abs_diff(two) < one / 100, "{one} kHz and {two} kHz");
    }
}
