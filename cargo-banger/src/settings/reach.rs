//! What manifests decide beyond the guest, so that it can be told.

use super::list;
use super::resolve::{Origin, Resolved};

/// One line of what manifests hand in, open and name of the host; `None` where they do nothing of
/// that.
pub(crate) fn of_manifests(settings: &[Resolved]) -> Option<String> {
    let mut reach = Vec::new();
    let mut manifests = Vec::new();
    for setting in settings {
        let Origin::Manifest(manifest) = &setting.origin else { continue };
        let Some(value) = beyond(setting.key.name, &setting.text) else { continue };
        reach.push(format!("{} = {value}", setting.key.name));
        if !manifests.contains(&manifest.as_str()) {
            manifests.push(manifest.as_str());
        }
    }
    let (reach, manifests) = (reach.join("; "), manifests.join(" and "));
    (!reach.is_empty()).then(|| format!("{manifests} decides beyond the guest: {reach}"))
}

/// The part of a value that concerns the host.
fn beyond(key: &str, text: &str) -> Option<String> {
    match key {
        "env" => {
            let words = list::split(text);
            let taken: Vec<_> = words.iter().filter(|word| !word.contains('=')).cloned().collect();
            (!taken.is_empty()).then(|| taken.join(", "))
        }
        "net" => (!matches!(text, "none" | "false")).then(|| text.to_owned()),
        "firecracker" | "packages" | "mirror" => (text != "auto").then(|| text.to_owned()),
        "rootfs" | "kernel" | "initrd" => Some(text.to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use camino::Utf8Path;

    use super::super::{Metadata, resolve};
    use super::*;

    fn of(values: &[(&str, &str)], flags: &[(&'static str, &str)]) -> Option<String> {
        let values = values.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let metadata = Metadata { manifest: "/w/Cargo.toml".into(), values: values.collect() };
        let flags = flags.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
        of_manifests(&resolve(&flags, |_| None, &[metadata], Utf8Path::new("/w")))
    }

    #[test]
    fn what_reaches_beyond_the_guest_is_one_line() {
        let values = [
            ("env", "TOKEN,A=1"),
            ("net", "user"),
            ("firecracker", "./x"),
            ("kernel", "vmlinux"),
            ("mirror", "http://m"),
            ("vcpu", "4"),
        ];
        let line = of(&values, &[]).unwrap();
        assert!(line.starts_with("/w/Cargo.toml decides"), "{line}");
        for part in ["env = TOKEN", "net = user", "firecracker = ./x", "kernel = vmlinux"] {
            assert!(line.contains(part), "{line}");
        }
        assert!(!line.contains("vcpu") && !line.contains("A=1") && !line.contains('\n'), "{line}");
    }

    #[test]
    fn what_stays_in_the_guest_and_what_a_user_typed_is_not_told() {
        assert_eq!(of(&[("env", "A=1"), ("net", "none"), ("ram", "4096")], &[]), None);
        assert_eq!(of(&[("net", "user")], &[("net", "user")]), None);
    }
}
