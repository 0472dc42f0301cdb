//! The host's own switch for forwarding between links: turned on by the first VM that reaches out,
//! and back to what it was with the last.

use std::io;

use camino::Utf8PathBuf;
use fs_err as fs;

use super::{NetworkError, shared, tell, turn};

const SWITCH: &str = "/proc/sys/net/ipv4/ip_forward";

/// There while we have turned it on.
fn mark() -> Utf8PathBuf {
    shared::path("forwarding-was-off")
}

/// Turns it on, and remembers that it was off.
pub(super) fn turn_on() -> io::Result<()> {
    let _turn = turn()?;
    if fs::read_to_string(SWITCH)?.trim() == "0" {
        fs::write(mark(), "")?;
        fs::write(SWITCH, "1")?;
    }
    Ok(())
}

/// Turns it off again where we turned it on and no VM is left that needs it.
pub(crate) fn restore() -> Result<(), NetworkError> {
    if !mark().exists() {
        return Ok(());
    }
    let _turn = turn()?;
    if mark().exists() && !is_needed()? {
        fs::write(SWITCH, "0")?;
        fs::remove_file(mark())?;
    }
    Ok(())
}

/// Whether any VM of this host has a table.
fn is_needed() -> Result<bool, NetworkError> {
    let tables = tell("nft", &["list", "tables", "ip"], "")?;
    Ok(String::from_utf8_lossy(&tables).contains(" banger_"))
}
