//! Which links of a fetched tree lead out of it.

use std::path::{Component, Path};

/// Whether a link with that target, in a directory so many levels below the top (the top's own
/// entries are at 0), may lead out of the tree.
///
/// It stays inside where it is relative, goes up no further than the top and then only down. What it
/// passes on the way down may be links, of this tree or of one fetched later: those stay inside too.
/// One that goes up again after that would not be sure to.
pub(super) fn may_lead_out(target: &Path, depth: u32) -> bool {
    let mut up = 0;
    let mut down = false;
    for component in target.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(_) => down = true,
            Component::ParentDir if !down && up < depth => up += 1,
            _ => return true,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stays_inside_whatever_is_fetched_later_does() {
        let out = |target: &str, depth| may_lead_out(Path::new(target), depth);
        for (target, depth) in [("a", 0), ("./a/b", 0), ("../a", 1), ("../../a/b", 2), ("..", 1)] {
            assert!(!out(target, depth), "{target} at {depth}");
        }
        for (target, depth) in [
            ("/", 9),
            ("/etc/passwd", 9),
            ("..", 0),
            ("../a", 0),
            ("./../..", 1),
            ("a/../..", 5),
            ("a/..", 5),
        ] {
            assert!(out(target, depth), "{target} at {depth}");
        }
    }
}
