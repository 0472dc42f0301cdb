//! Which ignore rules apply to a tree, and the walk that obeys them.
//!
//! `.gitignore` counts with and without a repository. Rules from directories above the tree count
//! only where git would let them: inside the same repository.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use ignore::{DirEntry, WalkBuilder, WalkParallel};

/// The project's own ignore file, with gitignore's syntax, above all other rules.
pub(super) const IGNORE_FILE: &str = ".bangerignore";

/// A parallel walk over `tree` that leaves out what is ignored, git's own data, the directories
/// in `excluded`, and cargo's build directories.
pub(super) fn walk(tree: &Path, excluded: HashSet<PathBuf>) -> WalkParallel {
    let repository = tree.ancestors().find(|dir| dir.join(".git").exists());
    // A tree that its repository ignores (a project below a versioned home, a generated crate)
    // was named by the user all the same: then it stands alone.
    let within = repository.is_some_and(|top| !is_ignored(tree, top));
    builder(tree, within).filter_entry(move |entry| keep(entry, &excluded)).build_parallel()
}

fn builder(tree: &Path, within_repository: bool) -> WalkBuilder {
    let mut builder = WalkBuilder::new(tree);
    builder
        .hidden(false)
        .ignore(false)
        .git_ignore(true)
        .git_exclude(true)
        .git_global(true)
        .parents(within_repository)
        .require_git(within_repository)
        .follow_links(false)
        .current_dir(tree)
        .add_custom_ignore_filename(IGNORE_FILE);
    builder
}

/// Whether the repository at `top` ignores `tree` or a directory above it.
fn is_ignored(tree: &Path, top: &Path) -> bool {
    let Some(mut matcher) = builder(top, true).build_matchers().pop() else {
        return false;
    };
    tree.ancestors()
        .take_while(|dir| *dir != top)
        .filter_map(|dir| dir.strip_prefix(top).ok())
        .any(|relative| matcher.matched(relative, true).is_ignore())
}

fn keep(entry: &DirEntry, excluded: &HashSet<PathBuf>) -> bool {
    if entry.depth() == 0 {
        return true;
    }
    let name = entry.file_name();
    if name == OsStr::new(".git") {
        return false;
    }
    if !entry.file_type().is_some_and(|kind| kind.is_dir()) {
        return true;
    }
    // Cargo tags the directories it builds in; those of other workspaces are often unignored.
    let built = name == OsStr::new("target") && entry.path().join("CACHEDIR.TAG").exists();
    !built && !excluded.contains(entry.path())
}
