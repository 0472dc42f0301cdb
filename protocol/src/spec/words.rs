//! Choices, each a word.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::InvalidValue;

/// Declares an enum of words, with its parser.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $what:literal, $expected:literal, { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// Every accepted word.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// The word as written on the command line.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl FromStr for $name {
            type Err = InvalidValue;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(InvalidValue { value: text.to_owned(), what: $what, expected: $expected }),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

words!(
    /// The program that runs the VM.
    VmmKind, "VMM", "qemu or firecracker", {
        /// QEMU's `microvm` machine, with KVM or TCG.
        Qemu = "qemu",
        /// Firecracker, with KVM.
        Firecracker = "firecracker",
    }
);
words!(
    /// What executes the guest's instructions.
    Accel, "accelerator", "auto, kvm or tcg", {
        /// KVM where it runs ordinary guests, else TCG.
        Auto = "auto",
        /// KVM, whatever the checks say; the boot watchdog still applies.
        Kvm = "kvm",
        /// QEMU's emulator: runs everywhere, several times slower.
        Tcg = "tcg",
    }
);
words!(
    /// What runs as process 1 of the guest.
    Init, "init", "quick or systemd", {
        /// A few lines of shell: ready soonest, reaps orphans, runs no services.
        Quick = "quick",
        /// systemd, waited for until the boot is complete.
        Systemd = "systemd",
    }
);
words!(
    /// What the guest can reach.
    Net, "network", "none, auto, user, tap, internet or host-loopback", {
        /// Nothing but the control channel.
        None = "none",
        /// Outbound connections by the means that the VMM has.
        Auto = "auto",
        /// Outbound connections through `passt`, without root: all but the host itself.
        User = "user",
        /// A tap in a network namespace of the VM's own, with NAT that can be switched.
        Tap = "tap",
        /// Public addresses only, by the means that the VMM has.
        Internet = "internet",
        /// Outbound connections through QEMU's own user networking, and at its gateway's address what
        /// listens on the host's loopback.
        HostLoopback = "host-loopback",
    }
);
