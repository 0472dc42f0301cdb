//! Where things live on disk and who owns them: [`layout`] and [`lock`].

pub mod layout;
pub mod lock;

pub use layout::Layout;
pub use lock::FileLock;
