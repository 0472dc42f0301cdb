//! What there is to fetch: a tree of the guest's, held small, for it may have very many entries.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use openssh_sftp_client::UnixTimeStamp;
use openssh_sftp_client::metadata::MetaData;

use super::staging::Finish;

/// How many of those that do not come are named.
const NAMED: usize = 5;

/// What became of an entry, or is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Directory,
    File,
    Link,
    /// It does not come.
    Skipped,
}

/// One entry. The first one of a tree is its top, and each stands after its parent.
#[derive(Clone, Copy, Debug)]
struct Node {
    parent: u32,
    /// Where its name is among all names.
    name: u32,
    length: u16,
    mode: u16,
    seconds: Option<u32>,
    size: u64,
    depth: u32,
    form: Form,
}

/// The entries, by number.
#[derive(Debug, Default)]
pub(super) struct Tree {
    names: Vec<u8>,
    nodes: Vec<Node>,
}

impl Tree {
    /// Adds an entry below another and returns its number; the top's name is empty.
    pub(super) fn add(&mut self, parent: u32, name: &[u8], metadata: &MetaData) -> u32 {
        let number = self.nodes.len() as u32;
        let form = match metadata.file_type() {
            Some(kind) if kind.is_dir() => Form::Directory,
            Some(kind) if kind.is_file() => Form::File,
            Some(kind) if kind.is_symlink() => Form::Link,
            _ => Form::Skipped,
        };
        // A server that gives no mode gets the usual one.
        let mode = metadata.permissions().map_or(0o644, |mode| mode.as_raw().bits() & 0o7777);
        self.nodes.push(Node {
            parent,
            name: self.names.len() as u32,
            length: name.len() as u16,
            mode: mode as u16,
            seconds: metadata.modified().map(UnixTimeStamp::into_raw),
            size: metadata.len().unwrap_or(0),
            depth: if number == 0 { 0 } else { self.nodes[parent as usize].depth + 1 },
            form,
        });
        self.names.extend_from_slice(name);
        number
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The entries of one form, parents first.
    pub(super) fn all(&self, form: Form) -> Vec<u32> {
        let nodes = self.nodes.iter().zip(0..);
        nodes.filter(|(node, _)| node.form == form).map(|(_, number)| number).collect()
    }

    pub(super) fn form(&self, number: u32) -> Form {
        self.node(number).form
    }

    pub(super) fn parent(&self, number: u32) -> Option<u32> {
        (number != 0).then(|| self.node(number).parent)
    }

    /// How many levels below the top.
    pub(super) fn depth(&self, number: u32) -> u32 {
        self.node(number).depth
    }

    /// A file's size, as announced.
    pub(super) fn size(&self, number: u32) -> u64 {
        self.node(number).size
    }

    pub(super) fn finish(&self, number: u32) -> Finish {
        let Node { mode, seconds, .. } = *self.node(number);
        Finish { mode: mode.into(), seconds }
    }

    /// The sizes of all files together.
    pub(super) fn bytes(&self) -> u64 {
        let files = self.nodes.iter().filter(|node| node.form == Form::File);
        files.fold(0, |sum: u64, file| sum.saturating_add(file.size))
    }

    /// The path of an entry below `top`: with nothing to join, without the slash with which a link
    /// would be followed.
    pub(super) fn path(&self, top: &Path, number: u32) -> PathBuf {
        let mut names = Vec::new();
        let mut here = number;
        while let Some(parent) = self.parent(here) {
            let Node { name, length, .. } = *self.node(here);
            names.push(&self.names[name as usize..][..length.into()]);
            here = parent;
        }
        let mut path = top.to_owned();
        path.extend(names.into_iter().rev().map(OsStr::from_bytes));
        path
    }

    /// Takes entries out that are not to come after all.
    pub(super) fn skip(&mut self, numbers: &[u32]) {
        for number in numbers {
            self.nodes[*number as usize].form = Form::Skipped;
        }
    }

    /// What does not come of the tree at `guest`. `links` are those that lead out of it.
    pub(super) fn skipped(&self, guest: &Path, links: &[u32]) -> Skipped {
        let links: HashSet<u32> = links.iter().copied().collect();
        let mut skipped = Skipped::default();
        for number in self.all(Form::Skipped) {
            skipped.count += 1;
            if skipped.first.len() < NAMED {
                let path = self.path(guest, number);
                skipped.first.push((path, links.contains(&number)));
            }
        }
        skipped.links = links.len() as u64;
        skipped
    }

    fn node(&self, number: u32) -> &Node {
        &self.nodes[number as usize]
    }
}

/// What a pull left in the guest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// How many entries.
    pub count: u64,
    /// How many of them are links that lead out of what was fetched; the others are sockets, pipes
    /// and devices.
    pub links: u64,
    /// The guest paths of the first ones, and whether each is such a link.
    pub first: Vec<(PathBuf, bool)>,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (path, is_link)) in self.first.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            let what = if *is_link { "a link that leads out" } else { "a special file" };
            write!(f, "{comma}`{}` ({what})", path.display())?;
        }
        match self.count - self.first.len() as u64 {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use openssh_sftp_client::metadata::MetaDataBuilder;

    use super::*;

    #[test]
    fn entries_stay_small() {
        assert!(size_of::<Node>() <= 40, "{}", size_of::<Node>());
    }

    #[test]
    fn a_few_of_those_that_do_not_come_are_named() {
        let mut tree = Tree::default();
        let unknown = MetaDataBuilder::new().create();
        tree.add(0, b"", &unknown);
        for name in 0..7 {
            tree.add(0, name.to_string().as_bytes(), &unknown);
        }
        let skipped = tree.skipped(Path::new("/out"), &[1]);
        assert_eq!((skipped.count, skipped.links), (8, 1));
        let expected = "`/out` (a special file), `/out/0` (a link that leads out), \
                        `/out/1` (a special file), `/out/2` (a special file), \
                        `/out/3` (a special file) and 3 more";
        assert_eq!(skipped.to_string(), expected);
    }
}
