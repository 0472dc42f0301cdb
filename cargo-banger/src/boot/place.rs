//! Where a command finds its files, and how far those are believed: decided here, once.
//!
//! | | trusted | untrusted |
//! |---|---|---|
//! | `Cargo.toml`: our settings | `settings::Metadata` | not read |
//! | `Cargo.toml`: members, path dependencies | cargo is asked, in the workspace | not read |
//! | `Cargo.lock` | crates are vendored by cargo, in the workspace | not read |
//! | `.cargo/config.toml`, `[alias]`, `[env]` | obeyed by cargo, and read for sources and patches | not read |
//! | `rust-toolchain.toml` | obeyed by rustup, in the workspace | not read: rustc is asked in `/` |
//! | `packages.apt` | read | not read |
//! | `.gitignore`, `.bangerignore`, `info/exclude` | read; a wrong one is an error | read; a wrong one is passed over |
//! | `.git/config`, hooks | not read: no git is run | not read |
//! | all other files | sent | sent |
//! | our current directory | the caller's | `/`, so that no relative path leads into it |
//! | `BANGER_ENV`, `BANGER_NET`, variables that come along | used | not used |
//! | the workspace disk | kept, with what was built | another one, without |

use std::path::{Path, PathBuf};

use banger_lifecycle::workspace::{Trust, Workspace};
use camino::{Utf8Path, Utf8PathBuf};

use crate::cli::PlaceArgs;
use crate::context::Context;
use crate::env;
use crate::error::CommandError;

/// Variables with directories from which programs, or parts of them, are taken.
const SEARCHED: [&str; 2] = ["PATH", env::LIBRARY_PATH];

/// A directory, and how far what is in it is believed.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Absolute, without links.
    pub(crate) directory: Utf8PathBuf,
    pub(crate) trust: Trust,
}

impl Place {
    /// The directory we were called in.
    pub(crate) fn here(context: &Context) -> Self {
        Self { directory: context.directory.clone(), trust: Trust::Trusted }
    }

    /// As the command line has it. For an untrusted place this process leaves its own directory.
    pub(crate) fn of(args: &PlaceArgs, context: &Context) -> Result<Self, CommandError> {
        let directory = match &args.dir {
            Some(dir) => find(&context.directory.join(dir))?,
            None => context.directory.clone(),
        };
        if !args.untrusted {
            return Ok(Self { directory, trust: Trust::Trusted });
        }
        if directory == "/" {
            return Err(CommandError::usage("`/` is this host, and not a stranger's directory"));
        }
        if context.through_cargo {
            check_cargo(&directory, &context.directory)?;
        }
        let searched = |name| Some((name, env::read(name)?));
        for (name, value) in SEARCHED.into_iter().filter_map(searched) {
            if let Some(entry) = leading_into(&directory, std::env::split_paths(&value)) {
                let message = format!("{name} leads into `{directory}`: `{}`", entry.display());
                let hint = "take it out: programs of an untrusted directory must not run here";
                return Err(CommandError::usage(message).hint(hint.to_owned()));
            }
        }
        std::env::set_current_dir("/")?;
        Ok(Self { directory, trust: Trust::Untrusted })
    }

    /// Whether a path of the host leads somewhere else by a link that is in this place.
    pub(crate) fn redirects(&self, path: &Path) -> bool {
        self.trust == Trust::Untrusted
            && path.ancestors().any(|part| {
                let parent = part.parent().and_then(|parent| parent.canonicalize().ok());
                part.is_symlink() && parent.is_some_and(|dir| dir.starts_with(&self.directory))
            })
    }
}

/// What is sent into a guest.
#[derive(Clone, Debug)]
pub(crate) enum Tree {
    Nothing,
    /// A workspace, as cargo sees it.
    Workspace(Box<Workspace>),
    /// A directory that nobody looks into but to send it.
    Untrusted(Utf8PathBuf),
}

impl Tree {
    /// Asks cargo about a place that is trusted.
    pub(super) async fn find(place: &Place, context: &Context) -> Result<Self, CommandError> {
        match place.trust {
            Trust::Untrusted => Ok(Self::Untrusted(place.directory.clone())),
            Trust::Trusted => {
                let workspace = Workspace::load(&place.directory, &context.cargo).await;
                let workspace = workspace.map_err(|error| {
                    let hint = error.hint();
                    let message = "cannot read the cargo workspace";
                    CommandError::usage(message).caused_by(&error).hint(hint)
                })?;
                Ok(workspace.map_or(Self::Nothing, |found| Self::Workspace(Box::new(found))))
            }
        }
    }

    /// The workspace, where there is a trusted one.
    pub(super) fn workspace(&self) -> Option<&Workspace> {
        match self {
            Self::Workspace(workspace) => Some(workspace),
            Self::Nothing | Self::Untrusted(_) => None,
        }
    }
}

fn find(dir: &Utf8Path) -> Result<Utf8PathBuf, CommandError> {
    let found = dir.canonicalize_utf8().and_then(|found| match found.is_dir() {
        true => Ok(found),
        false => Err(std::io::ErrorKind::NotADirectory.into()),
    });
    found.map_err(|error| CommandError::usage(format!("dir: cannot use `{dir}`")).caused_by(&error))
}

/// Refuses what comes too late: cargo has read its files before it started us.
fn check_cargo(directory: &Utf8Path, here: &Utf8Path) -> Result<(), CommandError> {
    let inside = here.starts_with(directory);
    let repository = repository(here).filter(|_| repository(here) == repository(directory));
    if !inside && repository.is_none() {
        return Ok(());
    }
    let within = repository.filter(|_| !inside).unwrap_or(directory);
    let message = format!(
        "cargo was started inside of `{within}`, and has obeyed its aliases, configuration and \
         toolchain file already"
    );
    let hint = format!(
        "call `cargo-banger` itself, as in `cargo-banger run --untrusted --dir {directory} -- CMD`, \
         or cargo from somewhere else"
    );
    Err(CommandError::usage(message).hint(hint))
}

/// The repository that a directory is in.
fn repository(dir: &Utf8Path) -> Option<&Utf8Path> {
    dir.ancestors().find(|dir| dir.join(".git").symlink_metadata().is_ok())
}

/// The first of the directories that is inside of another, by whatever links.
fn leading_into(
    directory: &Utf8Path,
    searched: impl IntoIterator<Item = PathBuf>,
) -> Option<PathBuf> {
    searched.into_iter().find(|entry| {
        let found = entry.canonicalize().unwrap_or_else(|_| entry.clone());
        entry.is_absolute() && found.starts_with(directory)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use fs_err as fs;

    use super::*;

    fn temp() -> (tempfile::TempDir, Utf8PathBuf) {
        let temp = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(temp.path()).unwrap().canonicalize_utf8().unwrap();
        (temp, path)
    }

    #[test]
    fn cargo_must_not_have_been_where_it_reads_a_strangers_files() {
        let (_temp, root) = temp();
        fs::create_dir_all(root.join("theirs/.git")).unwrap();
        fs::create_dir_all(root.join("theirs/sub/deep")).unwrap();
        fs::create_dir_all(root.join("mine/.git")).unwrap();
        let check =
            |directory: &str, here: &str| check_cargo(&root.join(directory), &root.join(here));
        for (directory, here) in
            [("theirs", "theirs"), ("theirs", "theirs/sub"), ("theirs/sub", "theirs")]
        {
            let error = check(directory, here).unwrap_err();
            assert!(error.message.contains(root.join("theirs").as_str()), "{error}");
            assert!(error.hint.unwrap().contains("cargo-banger run --untrusted"));
        }
        for (directory, here) in [("theirs", "mine"), ("theirs", "."), ("theirs/sub", ".")] {
            check(directory, here).unwrap();
        }
    }

    #[test]
    fn searched_directories_inside_are_found_by_links_too() {
        let (_temp, root) = temp();
        fs::create_dir_all(root.join("theirs/bin")).unwrap();
        symlink(root.join("theirs/bin"), root.join("link")).unwrap();
        let find = |path: &str| leading_into(&root.join("theirs"), [root.join(path).into()]);
        assert!(find("theirs/bin").is_some());
        assert!(find("theirs/not-yet").is_some());
        assert!(find("link").is_some());
        assert!(find("theirs-too").is_none() && find("bin").is_none());
    }

    #[test]
    fn a_link_of_theirs_leads_nothing_astray() {
        let (_temp, root) = temp();
        fs::create_dir_all(root.join("theirs/plain")).unwrap();
        fs::create_dir_all(root.join("mine")).unwrap();
        symlink(root.join("mine"), root.join("theirs/out")).unwrap();
        symlink(root.join("theirs"), root.join("way")).unwrap();
        let place = Place { directory: root.join("theirs"), trust: Trust::Untrusted };
        for path in ["theirs/out", "theirs/out/keys", "way/out/keys", "theirs/plain/../out/x"] {
            assert!(place.redirects(root.join(path).as_std_path()), "{path}");
        }
        for path in ["theirs/plain/x", "mine/x", "way/plain/x"] {
            assert!(!place.redirects(root.join(path).as_std_path()), "{path}");
        }
    }
}
