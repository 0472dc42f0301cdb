//! A network device made bad, for as long as a value lives.

use std::fmt::Write as _;
use std::process::{Command, Output};

/// Netem on a device. Dropping it removes it, and what it still holds back is lost.
#[derive(Debug)]
#[must_use = "dropping it makes the link good again"]
pub(crate) struct Netem {
    device: String,
}

impl Netem {
    /// Makes a device bad, in `tc`'s words: `loss 20% delay 20ms`.
    ///
    /// # Errors
    /// `tc`'s own, and what the kernel said: it may lack netem, which is a module of its own.
    pub(crate) fn on(device: &str, how: &str) -> Result<Self, String> {
        tc(&format!("qdisc add dev {device} root netem {how}"))?;
        Ok(Self { device: device.to_owned() })
    }

    /// How many packets it has dropped so far.
    ///
    /// # Errors
    /// Where `tc` fails or prints no such number.
    pub(crate) fn dropped(&self) -> Result<u64, String> {
        let text = tc(&format!("-s qdisc show dev {} root", self.device))?;
        let number = text.split_once("(dropped ").and_then(|(_, rest)| rest.split_once(','));
        number.and_then(|(number, _)| number.parse().ok()).ok_or(text)
    }
}

impl Drop for Netem {
    fn drop(&mut self) {
        if let Err(error) = tc(&format!("qdisc del dev {} root", self.device)) {
            eprintln!("netem stays: {error}");
        }
    }
}

/// Runs `tc` with arguments that hold no spaces; returns what it prints.
pub(crate) fn tc(arguments: &str) -> Result<String, String> {
    let output = Command::new("tc").args(arguments.split_whitespace()).output();
    let Output { status, stdout, stderr } =
        output.map_err(|error| format!("`tc`, of iproute2: {error}"))?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    let mut message = format!("`tc {arguments}`: {status}");
    for line in String::from_utf8_lossy(&stderr).lines() {
        write!(message, "\n  {line}").expect("a string takes everything");
    }
    Err(message)
}
