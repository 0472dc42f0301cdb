//! Sends what SFTP cannot name.

use std::ffi::OsString;
use std::path::PathBuf;

use super::archive::unpack_packed;
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
    let what = "unpacking names that are not UTF-8";
    unpack_packed(channel, what, SCRIPT, arguments, move |to| odd.archive(&host_root, to)).await
}
