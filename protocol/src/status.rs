//! Exit statuses in words.

/// The names of the signals that end programs, as signal(7) has them on x86_64.
const SIGNALS: &[(u8, &str)] = &[
    (1, "SIGHUP"),
    (2, "SIGINT"),
    (3, "SIGQUIT"),
    (4, "SIGILL"),
    (5, "SIGTRAP"),
    (6, "SIGABRT"),
    (7, "SIGBUS"),
    (8, "SIGFPE"),
    (9, "SIGKILL"),
    (11, "SIGSEGV"),
    (13, "SIGPIPE"),
    (14, "SIGALRM"),
    (15, "SIGTERM"),
];

/// How a program ended: `exited with status 3`, or `was ended by signal 6 (SIGABRT)`, which is
/// status 128+6.
#[must_use]
pub fn describe(status: u8) -> String {
    let signal = status.checked_sub(128).filter(|signal| (1..=64).contains(signal));
    let Some(signal) = signal else { return format!("exited with status {status}") };
    match SIGNALS.iter().find(|(number, _)| *number == signal) {
        Some((_, name)) => format!("was ended by signal {signal} ({name})"),
        None => format!("was ended by signal {signal}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_and_signals_are_told_apart() {
        assert_eq!(describe(101), "exited with status 101");
        assert_eq!(describe(128), "exited with status 128");
        assert_eq!(describe(134), "was ended by signal 6 (SIGABRT)");
        assert_eq!(describe(160), "was ended by signal 32");
        assert_eq!(describe(255), "exited with status 255");
    }
}
