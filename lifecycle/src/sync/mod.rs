//! What to send into a guest, and sending it; and bringing files back.
//!
//! ```text
//! Root ─ scan ─► Manifest (what the host has) ─┐
//!                Manifest (what the guest has) ─┴─ Plan::between ─► push ─► Manifest saved
//! ```
//!
//! The guest keeps a pristine mirror of each synced tree; the host keeps the [`Manifest`] of what
//! that mirror holds. A run scans the tree, compares, sends the difference, and saves the new
//! manifest. Where nothing changed the plan is empty and no SFTP session is needed at all.
//!
//! A push that dies half way leaves the mirror between two states. So the caller saves
//! [`Manifest::interim`] before it pushes and the amended new manifest after it: the next plan
//! then repairs exactly what the dead push may have touched.
//!
//! The module opens no connection and knows no VM: a [`Session`] is made over two streams that come
//! in from above. What is at their other end is not trusted: see `filter`. The client writes names
//! as text, so names that are not UTF-8 are [taken out](Plan::take_odd_names) of a plan first and
//! travel as an archive.

pub(crate) mod silence;
mod filter;
mod error;
mod beneath;
mod options;
mod session;
mod guest;
mod manifest;
mod codec;
mod digest;
mod roots;
mod rules;
mod walk;
mod scan;
mod plan;
mod outbox;
mod push;
mod odd_names;
mod links;
mod sparse;
mod tree;
mod place;
pub(crate) mod staging;
mod pull;
#[cfg(test)]
mod testing;

use std::num::NonZeroU16;
use std::time::Duration;

use openssh_sftp_client::SftpOptions;

pub use error::SyncError;
pub use filter::ServerFault;
pub use manifest::{Entry, Kind, Manifest, Stamp, Timestamp};
pub use odd_names::OddNames;
pub use options::PullOptions;
pub use plan::{Deletion, MetadataChange, Plan, Target, Upload};
pub use pull::{Fetched, Wanted, pull};
pub use push::{Correction, Sent, push};
pub use roots::{Root, roots};
pub use scan::{Scan, scan, scan_tree};
pub use session::Session;
pub use tree::Skipped;

/// The SFTP session options that suit [`push`] and [`pull`]: nothing waits to be batched, because
/// many requests are under way at any time.
fn sftp_options() -> SftpOptions {
    SftpOptions::new()
        .flush_interval(Duration::ZERO)
        .max_pending_requests(NonZeroU16::new(256).expect("256 is not zero"))
}
