//! A test as `#[banger::test]` describes it.

use crate::outcome::Outcome;

/// What a test is called, what VM it wants, and how to run it.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Its path, from the crate's name on.
    pub path: &'static str,
    /// The package's directory.
    pub manifest_dir: &'static str,
    /// The reason why it is ignored, which may be empty.
    pub ignore: Option<&'static str>,
    /// What the message of the panic that it ends with contains.
    pub should_panic: Option<&'static str>,
    /// Settings of its VM, as `cargo banger config` names them.
    pub settings: &'static [(&'static str, &'static str)],
    /// How long it may take, in ms.
    pub timeout_ms: Option<u64>,
    /// Variables.
    pub env: &'static [(&'static str, &'static str)],
    /// Files of the host to bring along: `HOST` or `HOST:GUEST`.
    pub files: &'static [&'static str],
    /// Who runs it.
    pub user: Option<&'static str>,
    /// The group of tests that it shares a VM with.
    pub shared: Option<&'static str>,
    /// The function itself.
    pub body: fn() -> Outcome,
}

impl Case {
    /// What the harness calls it: its path within the crate.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.path.split_once("::").map_or(self.path, |(_, name)| name)
    }
}

#[cfg(feature = "harness")]
mod registry {
    use super::Case;

    inventory::collect!(Case);

    impl Case {
        /// All tests of this program.
        pub fn all() -> impl Iterator<Item = &'static Self> {
            inventory::iter::<Self>.into_iter()
        }

        /// The test with a path.
        ///
        /// # Panics
        /// Where there is none, which generated code rules out.
        #[must_use]
        pub fn find(path: &str) -> &'static Self {
            Self::all().find(|case| case.path == path).expect("each test registers its case")
        }
    }
}
