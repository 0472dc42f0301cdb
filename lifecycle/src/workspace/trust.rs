//! How far the files of a directory are believed.

/// Whether what is in a directory may decide anything on the host. Decided once, by whoever asks
/// for a VM; whoever reads a file of the directory or starts a program for it looks here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// As `cargo build` trusts a workspace: its manifests and configurations count, and cargo runs
    /// in it.
    #[default]
    Trusted,
    /// It is somebody else's: no file of it decides more than which of its files are sent, no
    /// program runs in it, and its workspace disk is apart from that of trusted runs.
    Untrusted,
}
