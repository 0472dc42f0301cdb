//! What to build an image from: a Debian suite, a mirror and packages. A value; builds nothing.

use super::packages::{Origin, PackageList};

/// The suite of images that name none.
pub const DEFAULT_SUITE: &str = "bookworm";

/// Why a recipe cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// The suite is not a code name.
    #[error("`{0}` is not the name of a Debian suite")]
    Suite(String),
    /// The mirror is not a URL.
    #[error("`{0}` is not the URL of a Debian mirror")]
    Mirror(String),
}

impl RecipeError {
    /// What mends it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Suite(_) => "give a code name in lower case, as `bookworm` or `trixie`".into(),
            Self::Mirror(_) => "give a URL with `http://`, `https://` or `file://`, as \
                 `http://deb.debian.org/debian`"
                .into(),
        })
    }
}

/// What an image is built from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    suite: String,
    mirror: Option<String>,
    packages: PackageList,
}

impl Recipe {
    /// Checks and takes the parts. What banger itself needs is added to `packages`; without a
    /// mirror, Debian's own is used, with its security updates.
    ///
    /// # Errors
    /// Where the suite or the mirror cannot be one.
    pub fn new(
        suite: impl Into<String>,
        mirror: Option<String>,
        packages: &PackageList,
    ) -> Result<Self, RecipeError> {
        let suite = suite.into();
        if suite.is_empty() || !suite.chars().all(|c| c.is_ascii_lowercase()) {
            return Err(RecipeError::Suite(suite));
        }
        if let Some(bad) = mirror.as_ref().filter(|url| !is_mirror(url)) {
            return Err(RecipeError::Mirror(bad.clone()));
        }
        Ok(Self { suite, mirror, packages: packages.with_required() })
    }

    /// The Debian suite's code name.
    #[must_use]
    pub fn suite(&self) -> &str {
        &self.suite
    }

    /// The mirror, where it is not Debian's own.
    #[must_use]
    pub fn mirror(&self) -> Option<&str> {
        self.mirror.as_deref()
    }

    /// Every package that is asked for, banger's own needs included.
    #[must_use]
    pub fn packages(&self) -> &PackageList {
        &self.packages
    }

    /// Names the place this recipe comes from: the same for two versions of one `packages.apt`,
    /// another for another file, suite or mirror.
    #[must_use]
    pub fn slot(&self) -> String {
        let origin = match self.packages.origin() {
            Origin::Builtin => "builtin",
            Origin::File(path) => path.as_str(),
        };
        short_hash(&[origin, &self.suite, self.mirror.as_deref().unwrap_or_default()])
    }

    /// Names what this recipe asks for: the same wherever it comes from.
    #[must_use]
    pub fn content_key(&self) -> String {
        let hash = self.packages.hash();
        short_hash(&[&hash, &self.suite, self.mirror.as_deref().unwrap_or_default()])
    }
}

fn short_hash(parts: &[&str]) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part.as_bytes()).update(&[0]);
    }
    hasher.finalize().to_hex()[..16].to_owned()
}

fn is_mirror(url: &str) -> bool {
    let rest = ["http://", "https://", "file://"].iter().find_map(|s| url.strip_prefix(s));
    rest.is_some_and(|rest| {
        !rest.is_empty() && !rest.contains(|c: char| c.is_whitespace() || c.is_control())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str, path: &str) -> PackageList {
        PackageList::parse(text, Origin::File(path.into())).unwrap()
    }

    fn recipe(suite: &str, mirror: Option<&str>, packages: &PackageList) -> Recipe {
        Recipe::new(suite, mirror.map(str::to_owned), packages).unwrap()
    }

    #[test]
    fn suites_and_mirrors_are_checked() {
        let packages = list("git", "/a");
        for bad in ["", "Bookworm", "book worm", "--x", "12"] {
            let error = Recipe::new(bad, None, &packages).unwrap_err();
            assert!(matches!(error, RecipeError::Suite(_)), "{bad}");
        }
        for bad in ["-", "deb.debian.org", "http://", "http://a b", "ftp://x"] {
            let error = Recipe::new("trixie", Some(bad.to_owned()), &packages).unwrap_err();
            assert!(matches!(error, RecipeError::Mirror(_)), "{bad}");
            assert!(error.hint().is_some());
        }
        assert!(Recipe::new("trixie", Some("file:///srv/debian".into()), &packages).is_ok());
    }

    #[test]
    fn a_slot_is_the_place_and_a_key_the_content() {
        let one = recipe("bookworm", None, &list("git", "/a"));
        let edited = recipe("bookworm", None, &list("git\ncurl", "/a"));
        let copied = recipe("bookworm", None, &list("git", "/b"));
        let newer = recipe("trixie", None, &list("git", "/a"));
        let other = recipe("bookworm", Some("http://m/debian"), &list("git", "/a"));
        assert_eq!(one.slot(), edited.slot());
        assert_ne!(one.content_key(), edited.content_key());
        assert_ne!(one.slot(), copied.slot());
        assert_eq!(one.content_key(), copied.content_key());
        for different in [newer, other] {
            assert_ne!(one.slot(), different.slot());
            assert_ne!(one.content_key(), different.content_key());
        }
    }

    #[test]
    fn what_banger_needs_is_always_there() {
        let recipe = recipe("bookworm", None, &list("", "/a"));
        assert!(recipe.packages().iter().any(|name| name == "openssh-server"));
    }
}
