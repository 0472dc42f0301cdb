//! Whether a guest can run a program as it is.

use crate::program::elf::Elf;
use crate::program::version::GlibcVersion;

/// The loader of every glibc system on x86_64.
const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

/// What any Debian has, in the packages `libc6` and `libgcc-s1`.
const EVERYWHERE: [&str; 11] = [
    "ld-linux-x86-64.so.2",
    "libanl.so.1",
    "libc.so.6",
    "libdl.so.2",
    "libgcc_s.so.1",
    "libm.so.6",
    "libmvec.so.1",
    "libpthread.so.0",
    "libresolv.so.2",
    "librt.so.1",
    "libutil.so.1",
];

impl Elf {
    /// Whether a guest with that glibc, where it is known, can run the program unaltered and with
    /// its own libraries only.
    #[must_use]
    pub fn runs_with(&self, guest: Option<GlibcVersion>) -> bool {
        let Some(loader) = &self.interpreter else { return true };
        let new_enough = |guest| self.glibc.is_none_or(|needed| needed <= guest);
        loader == LOADER
            && self.needed.iter().all(|name| EVERYWHERE.contains(&name.as_str()))
            && guest.is_some_and(new_enough)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Option<GlibcVersion> = Some(GlibcVersion::new(2, 31));
    const NEW: Option<GlibcVersion> = Some(GlibcVersion::new(2, 36));

    fn program(needed: &[&str]) -> Elf {
        Elf {
            interpreter: Some(LOADER.to_owned()),
            needed: needed.iter().map(|name| (*name).to_owned()).collect(),
            rpath: Vec::new(),
            runpath: Vec::new(),
            glibc: Some(GlibcVersion::new(2, 34)),
        }
    }

    #[test]
    fn the_guests_glibc_has_to_be_new_enough_and_known() {
        let program = program(&["libgcc_s.so.1", "libc.so.6", "ld-linux-x86-64.so.2"]);
        assert!(program.runs_with(NEW));
        assert!(program.runs_with(program.glibc));
        assert!(!program.runs_with(OLD));
        assert!(!program.runs_with(None));
    }

    #[test]
    fn another_library_or_another_loader_needs_the_hosts_files() {
        assert!(!program(&["libc.so.6", "libssl.so.3"]).runs_with(NEW));
        let loader = Some("/nix/store/x/ld-linux-x86-64.so.2".to_owned());
        assert!(!Elf { interpreter: loader, ..program(&["libc.so.6"]) }.runs_with(NEW));
    }

    #[test]
    fn a_static_program_runs_anywhere() {
        assert!(Elf { interpreter: None, ..program(&[]) }.runs_with(None));
    }
}
