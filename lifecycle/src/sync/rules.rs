//! Which ignore rules apply in a tree.
//!
//! `.gitignore` counts with and without a repository. Rules from directories above the tree count
//! only where git would let them: inside the same repository.
//!
//! The files with the rules are read here, not by the crate that knows their syntax: it would wait
//! at a FIFO, and read a device without end.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::FileType;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::error::SyncError;
use super::scan::vanished;
use crate::input_file::{self, LIST_LIMIT, Links};
use crate::workspace::Trust;

/// The project's own ignore file, with gitignore's syntax, above all other rules.
pub(super) const IGNORE_FILE: &str = ".bangerignore";
const GIT_IGNORE_FILE: &str = ".gitignore";
const REPOSITORY: &str = ".git";

/// How much the patterns of a directory and of those above it may hold, in bytes, [`WEIGHT`] more for
/// each. A matcher takes some 1,400 times as much memory.
const HEAVIEST: usize = 64 << 10;
const WEIGHT: usize = 8;

/// How much those of a whole tree may hold: to make matchers of it takes some 20 s.
const HEAVIEST_TREE: usize = 16 << 20;

/// How many files that are not obeyed are named.
const NAMED: usize = 100;

/// The rules of one directory, and of those above it.
#[derive(Debug)]
pub(super) struct Rules {
    above: Chain,
    own: Gitignore,
    git: Gitignore,
    exclude: Gitignore,
    /// Whether a repository begins here, which no rule of git's from above reaches into.
    repository: bool,
    /// How much the patterns hold, with those from above.
    weight: usize,
}

/// The nearest directory with rules; those above it hang on that.
pub(super) type Chain = Option<Arc<Rules>>;

/// What of a directory's names matters for its rules.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Present {
    own: bool,
    git: bool,
    repository: bool,
}

impl Present {
    /// Where nobody has listed the directory.
    const UNKNOWN: Self = Self { own: true, git: true, repository: true };

    /// Takes note of what is in the directory.
    pub(super) fn note(&mut self, name: &OsStr, kind: FileType) {
        self.own |= name == IGNORE_FILE && !kind.is_dir();
        self.git |= name == GIT_IGNORE_FILE && !kind.is_dir();
        self.repository |= name == REPOSITORY;
    }
}

/// The rules of one walk over a tree.
pub(super) struct RuleBook<'a> {
    excluded: &'a HashSet<PathBuf>,
    trust: Trust,
    /// Whether rules end where a repository begins.
    within_repository: bool,
    /// The user's own, for all repositories.
    global: Gitignore,
    /// The files that are not obeyed.
    passed_over: &'a Mutex<Vec<PathBuf>>,
    /// How much all patterns hold that were read so far.
    weight: AtomicUsize,
}

impl<'a> RuleBook<'a> {
    /// The rules for `tree`, and those from above it.
    ///
    /// # Errors
    /// Where an ignore file cannot be obeyed and the tree is trusted.
    pub(super) fn open(
        tree: &Path,
        excluded: &'a HashSet<PathBuf>,
        trust: Trust,
        passed_over: &'a Mutex<Vec<PathBuf>>,
    ) -> Result<(Self, Chain), SyncError> {
        let (global, _) = GitignoreBuilder::new(tree).build_global();
        let (within_repository, weight) = (true, AtomicUsize::new(0));
        let mut book = Self { excluded, trust, within_repository, global, passed_over, weight };
        let top = tree.ancestors().find(|dir| dir.join(REPOSITORY).exists());
        let above = match top {
            Some(top) => book.above(tree, top)?,
            None => None,
        };
        // A tree that its repository ignores (a project below a versioned home, a generated crate)
        // was named by the user all the same: then it stands alone.
        book.within_repository = above.is_some();
        Ok((book, above.flatten()))
    }

    /// The rules of the directories from `top` down to the one that `tree` is in; `None` where they
    /// ignore the tree.
    fn above(&self, tree: &Path, top: &Path) -> Result<Option<Chain>, SyncError> {
        let mut chain = None;
        let mut dir = top.to_owned();
        for name in tree.strip_prefix(top).unwrap_or(Path::new("")) {
            chain = self.enter(&dir, Present::UNKNOWN, chain)?;
            dir.push(name);
            if self.ignores(chain.as_ref(), &dir, true) {
                return Ok(None);
            }
        }
        Ok(Some(chain))
    }

    /// Adds a directory's own rules to those from above.
    ///
    /// # Errors
    /// As [`RuleBook::open`].
    pub(super) fn enter(
        &self,
        dir: &Path,
        present: Present,
        above: Chain,
    ) -> Result<Chain, SyncError> {
        let mut weight = above.as_ref().map_or(0, |above| above.weight);
        let mut read = |wanted: bool, file: &str| match wanted {
            true => self.read(dir, &dir.join(file), &mut weight),
            false => Ok(Gitignore::empty()),
        };
        let own = read(present.own, IGNORE_FILE)?;
        let git = read(present.git, GIT_IGNORE_FILE)?;
        let repository = present.repository.then(|| self.repository(dir)).flatten();
        let exclude = match repository {
            Some(repository) => self.read(dir, &repository.join("info/exclude"), &mut weight)?,
            None => Gitignore::empty(),
        };
        let repository =
            present.repository && self.within_repository && dir.join(REPOSITORY).exists();
        if !repository && own.is_empty() && git.is_empty() && exclude.is_empty() {
            return Ok(above);
        }
        Ok(Some(Arc::new(Rules { above, own, git, exclude, repository, weight })))
    }

    /// Whether a directory or file is left out, by the rules of the directory that it is in.
    pub(super) fn leaves_out(&self, chain: Option<&Arc<Rules>>, path: &Path, is_dir: bool) -> bool {
        let name = path.file_name().unwrap_or_default();
        if name == REPOSITORY || self.ignores(chain, path, is_dir) {
            return true;
        }
        // Cargo tags the directories it builds in; those of other workspaces are often unignored.
        is_dir
            && (name == "target" && path.join("CACHEDIR.TAG").exists()
                || self.excluded.contains(path))
    }

    fn ignores(&self, chain: Option<&Arc<Rules>>, path: &Path, is_dir: bool) -> bool {
        let (mut own, mut git, mut exclude) = (Match::None, Match::None, Match::None);
        let mut next = chain;
        let mut beyond = false;
        while let Some(rules) = next {
            if own.is_none() {
                own = rules.own.matched(path, is_dir);
            }
            if git.is_none() && !beyond {
                git = rules.git.matched(path, is_dir);
            }
            if exclude.is_none() && !beyond {
                exclude = rules.exclude.matched(path, is_dir);
            }
            beyond |= rules.repository;
            next = rules.above.as_ref();
        }
        let decided = own.or(git).or(exclude);
        match decided {
            Match::None => self.global.matched(path, is_dir).is_ignore(),
            decided => decided.is_ignore(),
        }
    }

    /// The rules in a file, for the directory `dir`. Adds what they hold to `weight`.
    fn read(&self, dir: &Path, file: &Path, weight: &mut usize) -> Result<Gitignore, SyncError> {
        let read = input_file::read(file, LIST_LIMIT, Links::Refuse);
        match read.and_then(|text| self.parse(dir, &text, weight)) {
            Ok(rules) => Ok(rules),
            Err(error) if vanished(&error) => Ok(Gitignore::empty()),
            Err(source) if self.trust == Trust::Trusted => {
                Err(SyncError::IgnoreFile { path: file.to_owned(), source })
            }
            Err(source) => {
                tracing::debug!(%source, "an ignore file is passed over");
                let passed_over = self.passed_over.lock();
                let mut passed_over = passed_over.unwrap_or_else(PoisonError::into_inner);
                if passed_over.len() < NAMED {
                    passed_over.push(file.to_owned());
                }
                Ok(Gitignore::empty())
            }
        }
    }

    /// A pattern that is none is passed over, as git does.
    fn parse(&self, dir: &Path, text: &[u8], weight: &mut usize) -> io::Result<Gitignore> {
        let text = String::from_utf8_lossy(text);
        let lines = text.trim_start_matches('\u{feff}').lines();
        let patterns = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let own: usize = patterns.clone().map(|pattern| pattern.len() + WEIGHT).sum();
        let in_tree = self.weight.fetch_add(own, Ordering::Relaxed) + own;
        let too_many = || io::Error::other("its patterns are too many or too complex");
        if *weight + own > HEAVIEST || in_tree > HEAVIEST_TREE {
            return Err(too_many());
        }
        *weight += own;
        let mut builder = GitignoreBuilder::new(dir);
        for pattern in patterns {
            if let Err(error) = builder.add_line(None, pattern) {
                tracing::debug!(%error, dir = %dir.display(), "a pattern is passed over");
            }
        }
        builder.build().map_err(|error| {
            tracing::debug!(%error, dir = %dir.display(), "no matcher of these patterns");
            too_many()
        })
    }

    /// The data of the repository that begins in a directory. That of an untrusted one has to be
    /// there itself: nothing in it leads to other places of the host.
    fn repository(&self, dir: &Path) -> Option<PathBuf> {
        let data = dir.join(REPOSITORY);
        if self.trust == Trust::Untrusted {
            let is_dir = |path: &Path| path.symlink_metadata().is_ok_and(|data| data.is_dir());
            return (is_dir(&data) && is_dir(&data.join("info"))).then_some(data);
        }
        if data.is_file() { common_directory(dir, &data) } else { Some(data) }
    }
}

/// Where the repository is that a worktree belongs to: `.git` is a file there, which names a
/// directory, in which another file names that of all worktrees.
fn common_directory(dir: &Path, file: &Path) -> Option<PathBuf> {
    let first_line = |path: &Path| {
        let text = input_file::read_text(path, LIST_LIMIT).ok()?;
        text.lines().next().map(str::to_owned)
    };
    let own = dir.join(first_line(file)?.strip_prefix("gitdir: ")?);
    let common = first_line(&own.join("commondir"))?;
    Some(own.join(common))
}
