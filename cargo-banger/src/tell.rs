//! Saying something on standard error, which may be gone: that is no reason to end otherwise; and printing
//! rows of text on standard output, of which some may be a guest's or a file's.

/// As `eprintln!`, without its panic.
macro_rules! tell {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        drop(writeln!(anstream::stderr(), $($text)*));
    }};
}

/// As `println!`, with all that steers a terminal made visible: for text without colours.
macro_rules! print_plain {
    ($($text:tt)*) => {
        anstream::println!("{}", banger_protocol::text::plain(&format!($($text)*)))
    };
}
