//! Exit statuses. The guest command's own status passes through; banger's own failures use the
//! range below, apart from what commands and shells use.

/// The command line or a setting is wrong; nothing was started.
pub(crate) const USAGE: u8 = 240;
/// This host lacks something; `cargo banger doctor` says what.
pub(crate) const HOST_NOT_READY: u8 = 241;
/// The VM did not come up.
pub(crate) const BOOT_FAILED: u8 = 242;
/// The VM or the connection to it ended while it was in use.
pub(crate) const GUEST_LOST: u8 = 243;
/// `--timeout` ran out.
pub(crate) const TIMED_OUT: u8 = 244;
/// An image or a layer could not be made.
pub(crate) const BUILD_FAILED: u8 = 245;
/// Files could not be sent or brought back.
pub(crate) const TRANSFER_FAILED: u8 = 246;
/// Something of a VM could not be removed, or `gc --check` found something.
pub(crate) const NOT_CLEAN: u8 = 247;
/// Anything else that is banger's own failure.
pub(crate) const INTERNAL: u8 = 249;
/// Interrupted by Ctrl-C, as shells report it.
pub(crate) const INTERRUPTED: u8 = 130;

/// For `--help` and the manual page.
pub(crate) const HELP: &str = "\
Exit status: the command's own (128+n if signal n killed it, 127 if it was not found, 126 if it cannot
be started), or
  240 wrong usage or setting        241 host not ready (see `cargo banger doctor`)
  242 the VM did not come up        243 the VM ended while in use
  244 --timeout ran out             245 an image or layer could not be built
  246 files could not be moved      247 something was left over
  249 any other failure of banger   130 interrupted";
