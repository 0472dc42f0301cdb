//! QEMU's arguments, computed as a value.

use camino::Utf8Path;

use crate::network::{DOOR, DOOR_HOST, DOOR_LINK};
use crate::spec::Net;
use crate::vmm::{Accelerator, Config, Disk, Memory};

/// Descriptor on which QEMU finds its control connection.
pub(crate) const QMP_FD: i32 = 3;
/// Descriptor on which QEMU finds its console.
pub(crate) const CONSOLE_FD: i32 = 4;
/// Descriptors on which QEMU finds what the ports lead to on which the guest's agent takes batches,
/// and runs commands.
pub(crate) const BATCHES_FD: i32 = 5;
pub(crate) const COMMANDS_FD: i32 = 6;
/// Descriptor on which QEMU finds the way to `passt`, where there is one.
pub(crate) const NETWORK_FD: i32 = 7;

/// The port for commands, by the name of what is on its other side.
pub(crate) const COMMANDS: &str = "commands";

/// QEMU's arguments for a VM.
pub(crate) fn args(config: &Config) -> Vec<String> {
    let mut args = Vec::new();
    machine(config, &mut args);
    boot(config, &mut args);
    config.disks.iter().for_each(|disk| push_disk(&mut args, disk));
    network(config, &mut args);
    channels(&mut args);
    args
}

fn machine(config: &Config, args: &mut Vec<String>) {
    let (accelerator, cpu) = match config.accelerator {
        Accelerator::Kvm => ("kvm", "host"),
        Accelerator::Tcg => ("tcg,thread=multi", "max"),
    };
    push(args, "-name", &config.name);
    push(args, "-accel", accelerator);
    push(args, "-cpu", cpu);
    push(args, "-smp", &config.spec.vcpu.to_string());
    memory(config, args);
    args.extend(["-nodefaults", "-no-user-config", "-nographic", "-no-reboot"].map(Into::into));
    push(args, "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny");
    push(args, "-device", "virtio-rng-device");
}

fn memory(config: &Config, args: &mut Vec<String>) {
    const MACHINE: &str = "microvm,acpi=on,rtc=on";
    let size = format!("{}M", config.spec.ram);
    push(args, "-m", &size);
    let (file, share) = match &config.memory {
        Memory::Private => return push(args, "-machine", MACHINE),
        Memory::Kept(file) | Memory::Continued(file) => (file, "on"),
        Memory::Template(file) => (file, "off"),
    };
    push(args, "-machine", &format!("{MACHINE},memory-backend=memory"));
    let file = escape(file);
    let backend = format!("memory-backend-file,id=memory,size={size},mem-path={file}");
    push(args, "-object", &format!("{backend},share={share}"));
    if config.memory.is_restored() {
        push(args, "-incoming", "defer");
    }
}

fn boot(config: &Config, args: &mut Vec<String>) {
    push(args, "-kernel", config.kernel.as_str());
    push(args, "-initrd", config.initrd.as_str());
    push(args, "-append", &config.command_line());
}

/// The guest's link. QEMU's own networking is restricted unless asked for what it shows of the host:
/// then it carries what is forwarded to the guest's sshd and nothing else.
fn network(config: &Config, args: &mut Vec<String>) {
    // Port 0: the kernel picks a free one, and QMP tells which.
    let forward = |guest: &str| format!("hostfwd=tcp:127.0.0.1:0-{guest}:22");
    if config.way.is_some() {
        push(args, "-netdev", &format!("stream,id=net,addr.type=fd,addr.str={NETWORK_FD}"));
        push(args, "-device", "virtio-net-device,netdev=net");
        let link = format!("net={DOOR_LINK},host={DOOR_HOST},dns=192.0.0.3,dhcpstart={DOOR}");
        let forward = forward(&DOOR.to_string());
        push(args, "-netdev", &format!("user,id=door,ipv6=off,restrict=on,{link},{forward}"));
        return push(args, "-device", "virtio-net-device,netdev=door");
    }
    let restrict = if config.spec.net == Net::HostLoopback { "off" } else { "on" };
    let forward = forward("");
    push(args, "-netdev", &format!("user,id=net,ipv6=off,restrict={restrict},{forward}"));
    push(args, "-device", "virtio-net-device,netdev=net");
}

fn channels(args: &mut Vec<String>) {
    push(args, "-chardev", &format!("socket,id=console,fd={CONSOLE_FD}"));
    push(args, "-serial", "chardev:console");
    push(args, "-chardev", &format!("socket,id=qmp,fd={QMP_FD}"));
    push(args, "-mon", "chardev=qmp,mode=control");
    // Port 0 would be a terminal.
    push(args, "-device", "virtio-serial-device,max_ports=3");
    for (nr, (name, fd)) in [("batches", BATCHES_FD), (COMMANDS, COMMANDS_FD)].iter().enumerate() {
        push(args, "-chardev", &format!("socket,id={name},fd={fd}"));
        push(args, "-device", &format!("virtserialport,id={name},chardev={name},nr={}", nr + 1));
    }
}

/// Adds a block node and its device. What is private is thrown away with the VM, so no write
/// waits for the host's disk.
fn push_disk(args: &mut Vec<String>, disk: &Disk) {
    let Disk { serial, path, base, read_only } = disk;
    if let Some(base) = base {
        let file = format!("file.driver=file,file.filename={}", escape(base));
        let node = format!("driver=raw,node-name={serial}-base,read-only=on,{file}");
        push(args, "-blockdev", &node);
    }
    let base = base.as_ref().map(|_| format!(",backing={serial}-base")).unwrap_or_default();
    let access = if *read_only { "read-only=on" } else { "read-only=off,cache.no-flush=on" };
    let file = format!("file.driver=file,file.filename={}", escape(path));
    let discard = if *read_only { "" } else { ",discard=unmap,file.discard=unmap" };
    let node = format!("driver=qcow2,node-name={serial},{access},{file}{base}{discard}");
    push(args, "-blockdev", &node);
    push(args, "-device", &format!("virtio-blk-device,drive={serial},serial={serial}"));
}

fn push(args: &mut Vec<String>, flag: &str, value: &str) {
    args.extend([flag.to_owned(), value.to_owned()]);
}

/// QEMU parts options by commas; a doubled comma is a comma.
fn escape(path: &Utf8Path) -> String {
    path.as_str().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Reach;
    use crate::network::passt::Way;
    use crate::spec::{VmSpec, VmmKind};
    use crate::vmm::firecracker::Home;

    fn config() -> Config {
        Config {
            name: "otter".to_owned(),
            vmm: VmmKind::Qemu,
            program: "/usr/bin/qemu-system-x86_64".into(),
            spec: VmSpec::default(),
            accelerator: Accelerator::Tcg,
            kernel: "/k".into(),
            initrd: "/i".into(),
            console_log: "/a,b/console.log".into(),
            namespace: None,
            way: None,
            home: Home::open("/a,b".into()),
            state: None,
            disks: vec![Disk {
                serial: "root",
                path: "/a,b/r.qcow2".into(),
                base: None,
                read_only: false,
            }],
            tsc_khz: Some(2_000_000),
            memory: Memory::Private,
        }
    }

    #[test]
    fn the_network_is_restricted_unless_asked_for() {
        let mut config = config();
        assert!(args(&config).iter().any(|arg| arg.contains("restrict=on")));
        config.spec.net = Net::HostLoopback;
        assert!(args(&config).iter().any(|arg| arg.contains("restrict=off")));
        // Whatever else is asked for: not without a way that keeps the host out.
        for net in [Net::Auto, Net::User, Net::Tap, Net::Internet] {
            config.spec.net = net;
            assert!(!args(&config).iter().any(|arg| arg.contains("restrict=off")), "{net}");
        }
        let (passt, banger) = ("/usr/bin/passt".into(), "/usr/bin/cargo-banger".into());
        config.way = Some(Way { passt, banger, reach: Reach::Outside });
        let args = args(&config).join(" ");
        assert!(args.contains("-netdev stream,id=net,addr.type=fd,addr.str=7 "), "{args}");
        assert!(args.contains("restrict=on") && !args.contains("restrict=off"), "{args}");
    }

    #[test]
    fn only_a_template_has_its_memory_shared_and_only_a_clone_waits_for_a_state() {
        let with = |memory| args(&Config { memory, ..config() }).join(" ");
        let kept = with(Memory::Kept("/m".into()));
        assert!(kept.contains("mem-path=/m,share=on") && !kept.contains("-incoming"), "{kept}");
        let clone = with(Memory::Template("/m".into()));
        assert!(clone.contains("mem-path=/m,share=off -incoming defer"), "{clone}");
        let continued = with(Memory::Continued("/m".into()));
        assert!(continued.contains("mem-path=/m,share=on -incoming defer"), "{continued}");
        assert!(!with(Memory::Private).contains("mem-path"));
    }

    #[test]
    fn a_layer_lies_under_the_blank_disk() {
        let mut config = config();
        config.disks.push(Disk {
            serial: "toolchain",
            path: "/blank.qcow2".into(),
            base: Some("/layer.erofs".into()),
            read_only: true,
        });
        let args = args(&config).join(" ");
        assert!(args.contains("node-name=toolchain-base,read-only=on"), "{args}");
        assert!(args.contains("/blank.qcow2,backing=toolchain-base"), "{args}");
    }

    #[test]
    fn commas_in_paths_do_not_end_an_option() {
        assert!(args(&config()).iter().any(|arg| arg.contains("file.filename=/a,,b/r.qcow2")));
    }
}
