//! What a template is called: a hash over all that decides what is in it.

use std::fmt;

use crate::rundir::KeyHasher;

/// The first 128 bits of a BLAKE3 hash, as hex.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TemplateKey(String);

impl TemplateKey {
    /// The key that covers what was hashed.
    pub(crate) fn of(hasher: &KeyHasher) -> Self {
        Self(hasher.key())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TemplateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
