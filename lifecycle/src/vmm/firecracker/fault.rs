//! What mends what Firecracker refuses, by the words of its fault message.

/// Words of a message, all in lower case, and what to do about it.
const REMEDIES: &[(&[&str], &str)] = &[
    (
        &["kernel", "loader"],
        "the kernel has to be an ELF `vmlinux` or a bzImage that holds one, for this architecture",
    ),
    (
        &["snapshot", "version"],
        "the template is of another Firecracker: `cargo banger template rm` removes it",
    ),
    (&["cannot allocate memory"], "give the VM less memory: `--ram`"),
    (&["memory", "mmap"], "give the VM less memory: `--ram`"),
    (&["/dev/kvm", "permission denied"], "`sudo usermod -aG kvm $USER`, then log in again"),
    (&["kvm"], "`cargo banger doctor` says what KVM lacks here; `--vmm qemu` needs none"),
    (
        &["no such file"],
        "a file went while the VM started; `cargo banger gc` clears up what is half there",
    ),
    (&["block"], "the root disk has to be a raw ext4 image that this user may read"),
];

/// The remedy for a fault, where one is known.
pub(crate) fn remedy(message: &str) -> Option<&'static str> {
    let message = message.to_lowercase();
    let says = |words: &&[&str]| words.iter().all(|word| message.contains(word));
    REMEDIES.iter().find(|(words, _)| says(words)).map(|(_, remedy)| *remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_known_by_its_words() {
        let told =
            remedy("Kernel Loader: failed to load ELF kernel image: Invalid Elf magic number");
        assert!(told.unwrap().contains("vmlinux"));
        assert!(
            remedy("Cannot mmap the memory file: Cannot allocate memory")
                .unwrap()
                .contains("--ram")
        );
        assert_eq!(remedy("something new"), None);
    }
}
