//! Saying something on standard error, which may be gone: that is no reason to end otherwise.

/// As `eprintln!`, without its panic.
macro_rules! tell {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        drop(writeln!(anstream::stderr(), $($text)*));
    }};
}
