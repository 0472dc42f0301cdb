//! Sends what SFTP cannot name.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use super::archive::unpack;
use crate::error::Cause;
use crate::exec::Channel;
use crate::sync::OddNames;

/// What the guest runs, in the mirror's directory: removes its arguments, unpacks its input.
const SCRIPT: &str = r#"cd "$1" && shift && { [ $# = 0 ] || rm -rf -- "$@"; } && tar -x -o -f -"#;

/// Removes and sends in the mirror at `tree`.
pub(super) async fn send(
    channel: &Channel,
    odd: OddNames,
    host_root: PathBuf,
    tree: &str,
) -> Result<(), Cause> {
    if odd.is_empty() {
        return Ok(());
    }
    let removed = odd.remove.iter().map(|path| {
        let mut argument = OsString::from("./");
        argument.push(path);
        argument
    });
    let arguments: Vec<_> = [tree.into()].into_iter().chain(removed).collect();
    let archive = tokio::task::spawn_blocking(move || odd.archive(&host_root))
        .await
        .map_err(io::Error::other)??;
    let what = "unpacking names that are not UTF-8";
    unpack(channel, what, SCRIPT, arguments, archive.as_slice()).await
}
