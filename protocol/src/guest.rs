//! How a process learns that it runs in a guest of banger: by a word of the kernel's command line,
//! which only who boots the machine decides and which nobody in it can change.

/// The word that every guest is booted with. The kernel takes a name with a dot for a parameter of one of
/// its modules, so it hands it to no process.
pub const WORD: &str = "banger.guest=1";

/// Whether a kernel's command line is that of a guest: whether the word is one of its own, neither part of
/// another nor within quotes nor meant for process 1, which gets what follows `--`.
#[must_use]
pub fn is_guest(command_line: &str) -> bool {
    let mut quoted = false;
    let words = command_line.split(|character: char| {
        quoted ^= character == '"';
        !quoted && character.is_ascii_whitespace()
    });
    words.take_while(|word| *word != "--").any(|word| word == WORD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_word_makes_a_guest() {
        for guest in [
            "banger.guest=1",
            "banger.guest=1\n",
            "console=ttyS0 banger.guest=1 quiet\n",
            "a=\"b c\" banger.guest=1",
        ] {
            assert!(is_guest(guest), "{guest}");
        }
        for host in [
            "",
            "\n",
            "quiet",
            "banger.guest",
            "banger.guest=0",
            "banger.guest=10",
            "banger.guest=1,2",
            "xbanger.guest=1",
            "x.banger.guest=1",
            "banger_guest=1",
            "banger-guest=1",
            "BANGER.GUEST=1",
            "dyndbg=\"banger.guest=1\"",
            "dyndbg=\"a banger.guest=1 b\" quiet",
            "\"banger.guest=1\"",
            "dyndbg=\"a banger.guest=1 b",
            "quiet -- banger.guest=1",
            "quiet\u{a0}banger.guest=1",
            "banger.guest=1\0",
        ] {
            assert!(!is_guest(host), "{host:?}");
        }
    }
}
