//! Sends what SFTP cannot name: as a tar archive, unpacked by the guest's busybox.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use crate::error::Cause;
use crate::exec::{ExecError, GuestCommand, Streams, stream};
use crate::process::last_lines;
use crate::session::Master;
use crate::sync::OddNames;

/// What the guest runs, in the mirror's directory: removes its arguments, unpacks its input.
const SCRIPT: &str = r#"cd "$1" && shift && { [ $# = 0 ] || rm -rf -- "$@"; } && tar -x -o -f -"#;

/// Removes and sends in the mirror at `tree`.
pub(super) async fn send(
    master: &Master,
    odd: OddNames,
    host_root: PathBuf,
    tree: &str,
) -> Result<(), Cause> {
    if odd.is_empty() {
        return Ok(());
    }
    let words = ["/run/banger/busybox", "sh", "-c", SCRIPT, "sh", tree];
    let words = words.into_iter().map(OsString::from);
    let removed = odd.remove.iter().map(|path| {
        let mut argument = OsString::from("./");
        argument.push(path);
        argument
    });
    let command = GuestCommand::new(words.chain(removed).collect());
    let archive = tokio::task::spawn_blocking(move || odd.archive(&host_root))
        .await
        .map_err(io::Error::other)??;
    let mut stderr = Vec::new();
    let streams = Streams {
        stdin: Some(Box::new(archive.as_slice())),
        stdout: Box::new(tokio::io::sink()),
        stderr: Box::new(&mut stderr),
    };
    let status = stream::run(master, &command, streams).await?;
    if status == 0 {
        return Ok(());
    }
    let what = "unpacking names that are not UTF-8";
    let stderr = last_lines(&String::from_utf8_lossy(&stderr), 5);
    Err(ExecError::Step { what, status, stderr }.into())
}
