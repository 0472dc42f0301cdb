//! Reads mount tables, as `/proc/self/mounts` has them.

use std::path::Path;

/// A line of a mount table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub point: String,
    /// What kind of filesystem it is.
    pub kind: String,
}

/// The mounts of a table, in order. Lines that are none are left out.
#[must_use]
pub fn parse(table: &str) -> Vec<Mount> {
    table.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Mount> {
    let mut fields = line.split_whitespace().skip(1);
    let (point, kind) = (fields.next()?, fields.next()?);
    Some(Mount { point: unescape(point), kind: kind.to_owned() })
}

/// The kernel writes what would part fields or lines as `\` and three octal digits.
fn unescape(field: &str) -> String {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    escapes.iter().fold(field.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// The mount that a path lies on: the deepest above it, and of several in one place the last.
///
/// ```
/// use example_unmodified::{holding, parse};
///
/// let mounts = parse("/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n");
/// assert_eq!(holding(&mounts, "/tmp/file").unwrap().kind, "tmpfs");
/// assert_eq!(holding(&mounts, "/tmpfile").unwrap().kind, "ext4");
/// ```
pub fn holding(mounts: &[Mount], path: impl AsRef<Path>) -> Option<&Mount> {
    let above = mounts.iter().filter(|mount| path.as_ref().starts_with(&mount.point));
    above.max_by_key(|mount| mount.point.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_in_names_are_escaped() {
        let mounts = parse("tmpfs /my\\040disk tmpfs rw 0 0");
        assert_eq!(mounts, [Mount { point: "/my disk".into(), kind: "tmpfs".into() }]);
    }

    #[test]
    fn the_later_mount_hides_the_earlier() {
        let mounts = parse("a /mnt ext4 rw 0 0\nb /mnt tmpfs rw 0 0\n");
        assert_eq!(holding(&mounts, "/mnt").unwrap().kind, "tmpfs");
        assert_eq!(holding(&mounts, "/srv"), None);
    }

    #[test]
    fn broken_lines_are_no_mounts() {
        assert_eq!(parse("\nnodev\nproc /proc\n"), []);
    }
}
