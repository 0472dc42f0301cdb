//! Who asks an executable for its tests, and in which form: by its command line.

use std::ffi::{OsStr, OsString};

use camino::Utf8Path;

/// How many characters cargo puts behind a test executable's name.
const HASH: usize = 16;

/// What libtest's `--list` is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    /// One line for each, in place of what people read.
    pub(crate) terse: bool,
    /// Those that are ignored, only.
    pub(crate) ignored: bool,
    /// The other arguments: filters, say.
    pub(crate) arguments: Vec<OsString>,
}

impl Question {
    /// Reads a command line; `None` where a program is not asked for its tests, or in a form that is
    /// its own business. Where nextest is who asks, it need not stand where cargo puts tests.
    pub(crate) fn of(program: &Utf8Path, arguments: &[OsString], nextest: bool) -> Option<Self> {
        let (mut lists, mut ignored, mut terse, mut rest) = (false, false, false, Vec::new());
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let format = match argument.to_str() {
                // Behind it, all are names.
                Some("--") => {
                    rest.push(argument.clone());
                    rest.extend(arguments.by_ref().cloned());
                    continue;
                }
                Some("--list") => {
                    lists = true;
                    continue;
                }
                Some("--ignored") => {
                    ignored = true;
                    continue;
                }
                Some("--format") => arguments.next()?.as_os_str(),
                Some(text) => match text.strip_prefix("--format=") {
                    Some(format) => OsStr::new(format),
                    // A form of its own.
                    None if matches!(text, "-q" | "--quiet" | "--help" | "-h") => return None,
                    None => {
                        rest.push(argument.clone());
                        continue;
                    }
                },
                None => {
                    rest.push(argument.clone());
                    continue;
                }
            };
            terse = match format.to_str()? {
                "terse" => true,
                "pretty" => false,
                _ => return None,
            };
        }
        let asks = lists && (is_test(program) || (nextest && terse));
        asks.then_some(Self { terse, ignored, arguments: rest })
    }
}

/// What the executable is called, without cargo's hash: what the one test is called that stands for
/// all of it.
pub(crate) fn stem(program: &Utf8Path) -> &str {
    let name = program.file_name().unwrap_or_default();
    match name.rsplit_once('-') {
        Some((stem, hash)) if !stem.is_empty() && is_hash(hash) => stem,
        _ => name,
    }
}

/// Whether an executable stands where cargo has tests and benches, or is an example built as a test:
/// what others mean by `--list` is their own business.
fn is_test(program: &Utf8Path) -> bool {
    let within = program.parent().and_then(Utf8Path::file_name);
    let has_hash = program.file_name().is_some_and(|name| stem(program) != name);
    within == Some("deps") || (within == Some("examples") && has_hash)
}

fn is_hash(text: &str) -> bool {
    text.len() == HASH && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEST: &str = "/w/target/debug/deps/it-0123456789abcdef";

    fn question(program: &str, arguments: &str, nextest: bool) -> Option<Question> {
        let arguments: Vec<_> = arguments.split_whitespace().map(OsString::from).collect();
        Question::of(program.into(), &arguments, nextest)
    }

    #[test]
    fn those_who_list_are_known_by_their_arguments() {
        let nextest = question(TEST, "--list --format terse --ignored", true).unwrap();
        assert_eq!(nextest, Question { terse: true, ignored: true, arguments: Vec::new() });
        let people = question(TEST, "some::test --list --skip other", false).unwrap();
        assert!(!people.terse && !people.ignored);
        assert_eq!(people.arguments, ["some::test", "--skip", "other"]);
        assert!(question(TEST, "--format=terse --list", false).unwrap().terse);
        assert_eq!(question(TEST, "--list -- --ignored", false).unwrap().arguments.len(), 2);
        let example = "/w/target/debug/examples/it-0123456789abcdef";
        assert!(question(example, "--list", false).is_some());
    }

    #[test]
    fn what_other_programs_mean_by_the_flag_is_their_own_business() {
        assert_eq!(question(TEST, "--exact a", true), None);
        assert_eq!(question(TEST, "-- --list", true), None);
        assert_eq!(question(TEST, "--list --format json", true), None);
        assert_eq!(question(TEST, "--list --format", true), None);
        assert_eq!(question(TEST, "--list -q", true), None);
        for program in ["/w/target/debug/tool", "/w/target/debug/examples/tool"] {
            assert_eq!(question(program, "--list", false), None);
            assert_eq!(question(program, "--list", true), None);
            assert!(question(program, "--list --format terse", true).is_some());
        }
    }

    #[test]
    fn an_executable_is_called_as_its_target_is() {
        assert_eq!(stem(TEST.into()), "it");
        assert_eq!(stem("/w/a-b-0123456789abcdef".into()), "a-b");
        assert_eq!(stem("/w/a-b".into()), "a-b");
        assert_eq!(stem("/w/-0123456789abcdef".into()), "-0123456789abcdef");
    }
}
