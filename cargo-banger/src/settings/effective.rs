//! Settings as types that cannot be wrong.

use std::ffi::OsString;
use std::time::Duration;

use banger_lifecycle::exec::command::is_shell_name;
use banger_lifecycle::spec::{Net, Ram, Rate, Vcpu, VmSpec};
use banger_lifecycle::sync::PullOptions;
use camino::Utf8PathBuf;

use super::{Resolved, list};
use crate::error::CommandError;

/// All settings, checked.
#[derive(Clone, Debug)]
pub(crate) struct Effective {
    pub(crate) spec: VmSpec,
    /// Whether the number of virtual CPUs was left to us.
    pub(crate) vcpu_is_auto: bool,
    /// Whether memory was left to us.
    pub(crate) ram_is_auto: bool,
    pub(crate) timeout: Option<Duration>,
    /// How much may be fetched at a time.
    pub(crate) fetch: PullOptions,
    pub(crate) packages: Option<Utf8PathBuf>,
    pub(crate) suite: String,
    pub(crate) mirror: Option<String>,
    pub(crate) rootfs: Option<Utf8PathBuf>,
    pub(crate) kernel: Option<Utf8PathBuf>,
    pub(crate) initrd: Option<Utf8PathBuf>,
    pub(crate) firecracker: Option<Utf8PathBuf>,
    pub(crate) sync: bool,
    pub(crate) toolchain: bool,
    /// Whether the VM may start from a template.
    pub(crate) template: bool,
    /// Whether the VM is left running if what runs in it fails.
    pub(crate) keep_on_failure: bool,
    pub(crate) env: Vec<(String, OsString)>,
}

impl Effective {
    /// Checks every value.
    pub(crate) fn check(resolved: &[Resolved]) -> Result<Self, CommandError> {
        let find = |name: &str| {
            let found = resolved.iter().find(|resolved| resolved.key.name == name);
            found.expect("every key is resolved")
        };
        let (vcpu, ram) = (find("vcpu"), find("ram"));
        let vmm = find("vmm");
        let own = |name: &str| find(name).path();
        Ok(Self {
            spec: VmSpec {
                vcpu: if vcpu.text == "auto" { Vcpu::default() } else { vcpu.parse()? },
                ram: if ram.text == "auto" { Ram::default() } else { ram.parse()? },
                overlay_size: find("overlay-size").parse()?,
                workspace_size: find("workspace-size").parse()?,
                vmm: if vmm.text == "auto" { None } else { Some(vmm.parse()?) },
                accel: find("accel").parse()?,
                init: find("init").parse()?,
                net: net(find("net"))?,
                net_pool: find("net-pool").parse()?,
                disk_rate: rate(find("disk-rate"))?,
                net_rate: rate(find("net-rate"))?,
                jail: truth(find("jail"))?,
                boot_timeout_ms: millis(duration(find("boot-timeout"))?),
            },
            vcpu_is_auto: vcpu.text == "auto",
            ram_is_auto: ram.text == "auto",
            timeout: match find("timeout") {
                none if none.text == "none" => None,
                some => Some(duration(some)?),
            },
            fetch: PullOptions {
                max_bytes: size(find("fetch-limit"))?,
                max_entries: find("fetch-entries").parse()?,
                ..PullOptions::default()
            },
            packages: find("packages").path().filter(|_| find("packages").text != "auto"),
            suite: find("suite").text.clone(),
            mirror: Some(find("mirror")).filter(|m| m.text != "auto").map(|m| m.text.clone()),
            rootfs: own("rootfs"),
            kernel: own("kernel"),
            initrd: own("initrd"),
            firecracker: find("firecracker").path().filter(|_| find("firecracker").text != "auto"),
            sync: truth(find("sync"))?,
            toolchain: truth(find("toolchain"))?,
            template: truth(find("template"))?,
            keep_on_failure: truth(find("keep-on-failure"))?,
            env: variables(find("env"))?,
        })
    }
}

/// `true` and `false` are accepted for the network too: `--net` alone leaves the means to us.
fn net(resolved: &Resolved) -> Result<Net, CommandError> {
    match resolved.text.as_str() {
        "true" => Ok(Net::Auto),
        "false" => Ok(Net::None),
        _ => resolved.parse(),
    }
}

fn rate(resolved: &Resolved) -> Result<Option<Rate>, CommandError> {
    if resolved.text == "none" { Ok(None) } else { resolved.parse().map(Some) }
}

fn truth(resolved: &Resolved) -> Result<bool, CommandError> {
    let text = &resolved.text;
    match text.as_str() {
        // As variables are often set.
        "1" => Ok(true),
        "0" => Ok(false),
        _ => {
            text.parse().map_err(|_| resolved.wrong(format!("`{text}` is neither true nor false")))
        }
    }
}

/// A size in bytes: `512M`, `16G`, `2T`, or a number of MiB.
fn size(resolved: &Resolved) -> Result<u64, CommandError> {
    let text = resolved.text.as_str();
    let (digits, shift) = match text.strip_suffix(['M', 'm']) {
        Some(digits) => (digits, 20),
        None => match (text.strip_suffix(['G', 'g']), text.strip_suffix(['T', 't'])) {
            (Some(digits), _) => (digits, 30),
            (_, Some(digits)) => (digits, 40),
            _ => (text, 20),
        },
    };
    let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
    bytes.filter(|bytes| *bytes > 0).ok_or_else(|| {
        resolved.wrong(format!("`{text}` is not a valid size: expected one such as 512M or 16G"))
    })
}

fn duration(resolved: &Resolved) -> Result<Duration, CommandError> {
    let text = &resolved.text;
    let expected = "expected a time such as 90s, 5m or 500ms";
    match humantime::parse_duration(text) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(resolved.wrong(format!("`{text}` is not a valid time: {expected}"))),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// `K=V` sets a variable, `K` takes it from our own environment where it has it.
fn variables(resolved: &Resolved) -> Result<Vec<(String, OsString)>, CommandError> {
    let mut variables = Vec::new();
    for word in list::split(&resolved.text) {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(OsString::from(value))),
            None => (word.as_str(), std::env::var_os(&word)),
        };
        if !is_shell_name(name) {
            let reason = format!("`{word}` is not a variable: expected K or K=V");
            return Err(resolved.wrong(reason));
        }
        variables.extend(value.map(|value| (name.to_owned(), value)));
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use camino::Utf8Path;

    use super::*;
    use crate::settings::{Flags, resolve};

    fn check(flags: &[(&'static str, &str)]) -> Result<Effective, CommandError> {
        let flags: Flags = flags.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
        Effective::check(&resolve(&flags, |_| None, &[], Utf8Path::new("/here")))
    }

    #[test]
    fn what_may_be_fetched_is_as_documented_unless_told() {
        assert_eq!(check(&[]).unwrap().fetch, PullOptions::default());
        let bytes = |text| check(&[("fetch-limit", text)]).map(|checked| checked.fetch.max_bytes);
        for (text, expected) in
            [("7", 7 << 20), ("512M", 512 << 20), ("3g", 3 << 30), ("2T", 2 << 40)]
        {
            assert_eq!(bytes(text).unwrap(), expected, "{text}");
        }
        for bad in ["", "0", "G", "-1", "1GB", "99999999999999999T"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
        assert_eq!(check(&[("fetch-entries", "5")]).unwrap().fetch.max_entries, 5);
        assert!(check(&[("fetch-entries", "many")]).is_err());
    }
}
