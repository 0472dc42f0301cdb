//! The walk over a tree, by several threads: what of it is not left out.
//!
//! It decides nothing by itself (rules do) and does not look at entries (its visitor does). How deep
//! a tree may be is bounded; how much it may hold is its visitor's to count.

use std::ffi::OsString;
use std::fs::FileType;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;

use fs_err as fs;

use super::error::SyncError;
use super::rules::{Chain, Present, RuleBook};
use super::scan::vanished;

/// How many directories may stand in each other.
pub(super) const DEEPEST: usize = 256;

/// How many entries a tree may have.
pub(super) const MOST: usize = 1_000_000;

/// How many threads share a walk at most.
const THREADS: usize = 12;

/// How many files of one directory a thread takes at a time, so that others can help.
const SHARE: usize = 128;

/// Something to be done.
enum Work {
    Directory { path: PathBuf, above: Chain, depth: usize },
    Files(Vec<PathBuf>),
}

/// What is still to be done, and by how many threads something is.
struct Queue {
    work: Vec<Work>,
    busy: usize,
    failure: Option<SyncError>,
}

/// One thing that is being done. Dropping it says that it no longer is, also where that panics.
struct Turn<'a> {
    queue: &'a Mutex<Queue>,
    news: &'a Condvar,
}

impl Turn<'_> {
    /// Leaves what is to be done next, or ends the walk.
    fn end(self, done: Result<Vec<Work>, SyncError>) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        match done {
            Ok(more) => queue.work.extend(more),
            Err(error) => drop(queue.failure.get_or_insert(error)),
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.busy -= 1;
        if queue.busy == 0 || queue.failure.is_some() || !queue.work.is_empty() {
            self.news.notify_all();
        }
    }
}

struct Walk<'a, V> {
    book: &'a RuleBook<'a>,
    visit: V,
    queue: Mutex<Queue>,
    news: Condvar,
}

/// Calls `visit` for everything below `tree` that no rule leaves out, and returns what it made of
/// those, in no order.
///
/// # Errors
/// The first of a visit, of a directory that cannot be listed, and of rules that cannot be obeyed.
pub(super) fn walk<T: Send>(
    tree: &Path,
    book: &RuleBook<'_>,
    above: Chain,
    visit: impl Fn(&Path) -> Result<Option<T>, SyncError> + Sync,
) -> Result<Vec<T>, SyncError> {
    let first = Work::Directory { path: tree.to_owned(), above, depth: 0 };
    let queue = Mutex::new(Queue { work: vec![first], busy: 0, failure: None });
    let walk = Walk { book, visit, queue, news: Condvar::new() };
    let helpers = thread::available_parallelism().map_or(1, usize::from).min(THREADS) - 1;
    let found = thread::scope(|scope| {
        let helpers: Vec<_> = (0..helpers).map(|_| scope.spawn(|| walk.work())).collect();
        let mut found = walk.work();
        for helper in helpers {
            found.append(&mut helper.join().expect("no visitor panics"));
        }
        found
    });
    let failure = walk.queue.into_inner().unwrap_or_else(PoisonError::into_inner).failure;
    failure.map_or(Ok(found), Err)
}

impl<T, V: Fn(&Path) -> Result<Option<T>, SyncError> + Sync> Walk<'_, V> {
    /// Does one thing after another until there is nothing to do.
    fn work(&self) -> Vec<T> {
        let mut found = Vec::new();
        while let Some((turn, work)) = self.next() {
            let done = match work {
                Work::Directory { path, above, depth } => {
                    self.directory(&path, above, depth, &mut found)
                }
                Work::Files(paths) => self.files(&paths, &mut found).map(|()| Vec::new()),
            };
            turn.end(done);
        }
        found
    }

    /// Waits for something to do; `None` where there will be nothing any more.
    fn next(&self) -> Option<(Turn<'_>, Work)> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if queue.failure.is_some() {
                return None;
            }
            if let Some(work) = queue.work.pop() {
                queue.busy += 1;
                return Some((Turn { queue: &self.queue, news: &self.news }, work));
            }
            if queue.busy == 0 {
                return None;
            }
            queue = self.news.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Visits what is in a directory; what is in those in it is left to do.
    fn directory(
        &self,
        path: &Path,
        above: Chain,
        depth: usize,
        found: &mut Vec<T>,
    ) -> Result<Vec<Work>, SyncError> {
        if depth > DEEPEST {
            return Err(SyncError::too_deep(path, DEEPEST));
        }
        let (entries, present) = match list(path) {
            Err(error) if vanished(&error) => return Ok(Vec::new()),
            other => other.map_err(SyncError::unreadable(path))?,
        };
        if entries.len() > MOST {
            return Err(SyncError::TooMany { path: path.to_owned(), limit: MOST });
        }
        let chain = self.book.enter(path, present, above)?;
        let mut more = Vec::new();
        let mut files = Vec::new();
        for (name, kind) in entries {
            let path = path.join(name);
            if self.book.leaves_out(chain.as_ref(), &path, kind.is_dir()) {
                continue;
            }
            if kind.is_dir() {
                found.extend((self.visit)(&path)?);
                more.push(Work::Directory { path, above: chain.clone(), depth: depth + 1 });
            } else {
                files.push(path);
            }
        }
        while files.len() > SHARE {
            more.push(Work::Files(files.split_off(files.len() - SHARE)));
        }
        self.files(&files, found)?;
        Ok(more)
    }

    fn files(&self, paths: &[PathBuf], found: &mut Vec<T>) -> Result<(), SyncError> {
        for path in paths {
            found.extend((self.visit)(path)?);
        }
        Ok(())
    }
}

/// The names in a directory and their kinds, and which of them matter for its rules.
fn list(path: &Path) -> std::io::Result<(Vec<(OsString, FileType)>, Present)> {
    let mut present = Present::default();
    let mut entries = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let kind = match entry.file_type() {
            Err(error) if vanished(&error) => continue,
            kind => kind?,
        };
        let name = entry.file_name();
        present.note(&name, kind);
        entries.push((name, kind));
        if entries.len() > MOST {
            break;
        }
    }
    Ok((entries, present))
}
