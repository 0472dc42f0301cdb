//! What test executables understand: libtest's command line, as libtest-mimic and nextest take it.

/// libtest's flags that take a value.
const WITH_VALUE: &[&str] =
    &["--color", "--format", "--logfile", "--shuffle-seed", "--skip", "--test-threads", "-Z"];

/// A call's arguments for one test alone: its flags, without what selects tests.
pub(super) fn exactly(arguments: &[String], name: &str) -> Vec<String> {
    let mut kept = vec!["--exact".to_owned(), name.to_owned()];
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let value = WITH_VALUE.contains(&argument.as_str()).then(|| arguments.next()).flatten();
        let selects = !argument.starts_with('-')
            || argument == "--exact"
            || argument == "--skip"
            || argument.starts_with("--skip=");
        if !selects {
            kept.push(argument.clone());
            kept.extend(value.cloned());
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_stay_and_filters_go() {
        let given =
            ["name", "--skip", "slow", "--test-threads", "3", "--nocapture", "--color=always"];
        let given: Vec<_> = given.map(str::to_owned).into();
        let expected = ["--exact", "a::b", "--test-threads", "3", "--nocapture", "--color=always"];
        assert_eq!(exactly(&given, "a::b"), expected);
    }
}
