//! `mounted PATH`: prints the kind of filesystem that a path lies on.

use std::error::Error;
use std::process::ExitCode;

use example_unmodified::{holding, parse};

const TABLE: &str = "/proc/self/mounts";

fn main() -> ExitCode {
    match std::env::args_os().nth(1).ok_or("usage: mounted PATH".into()).and_then(kind) {
        Ok(kind) => {
            println!("{kind}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("mounted: {error}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "an example without fs_err")]
fn kind(path: std::ffi::OsString) -> Result<String, Box<dyn Error>> {
    let path = std::path::absolute(path)?;
    let table = std::fs::read_to_string(TABLE).map_err(|error| format!("{TABLE}: {error}"))?;
    let mounts = parse(&table);
    let mount = holding(&mounts, &path).ok_or_else(|| format!("{} is nowhere", path.display()))?;
    Ok(mount.kind.clone())
}
