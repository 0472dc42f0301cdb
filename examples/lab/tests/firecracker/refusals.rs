//! What cannot be is told with a remedy.

use crate::common::{assert_nothing_left, errors, lab, state, text};

#[test]
fn what_firecracker_refuses_is_told_with_a_remedy() {
    let Some(mut lab) = lab() else { return };
    let before = state(&mut lab);
    let mut refused = |script: &str, said: &[&str]| {
        let output = lab.sh(script).unwrap();
        let told = errors(&output);
        assert!(!output.success(), "{output}");
        assert!(said.iter().all(|text| told.contains(text)), "{script}: {told}");
    };
    refused(
        "head -c 64K /dev/zero >/tmp/k; printf '\\177ELF' | dd of=/tmp/k conv=notrunc status=none; \
         vm --cold --kernel /tmp/k -- true",
        &["the VMM refused `PUT /", "hint: ", "kernel"],
    );
    refused("vm --cold --rootfs /no/such.ext4 -- true", &["/no/such.ext4"]);
    // A host that promises no memory that it does not have.
    let promise = "/proc/sys/vm/overcommit_memory";
    refused(
        &format!(
            "echo 2 >{promise}; banger run --no-sync --vmm firecracker --packages $GUEST --ram 32768 \
             --cold -- true; status=$?; echo 0 >{promise}; exit $status"
        ),
        &["mmap", "hint: give the VM less memory"],
    );
    refused("vm --accel tcg -- true", &["firecracker does not do emulation", "--vmm qemu"]);
    refused("vm --net=user -- true", &["networks without a tap (`--net=user`)", "--net=tap"]);
    let odd = "PATH=/usr/bin:/bin; mv /usr/local/bin/firecracker /tmp/; vm -- true; status=$?; \
               mv /tmp/firecracker /usr/local/bin/; exit $status";
    refused(odd, &["cannot start `firecracker`", "cargo banger setup"]);
    assert_nothing_left(&mut lab, &before);
}

#[test]
fn a_template_of_no_use_is_thrown_away_also_in_a_jail() {
    let Some(mut lab) = lab() else { return };
    let damage = "vm -- true; for state in ~/.cache/banger/templates/*/state; do \
                  dd if=/dev/zero of=$state bs=1K count=1 conv=notrunc status=none; done; vm --jail -- echo up";
    let output = lab.sh(damage).unwrap();
    assert!(output.success() && text(&output) == "up\n", "{output}");
    assert!(errors(&output).contains("does not restore and is thrown away"), "{output}");
}

#[test]
fn a_host_without_room_for_what_the_guest_writes_says_so() {
    let Some(mut lab) = lab() else { return };
    let before = state(&mut lab);
    // The VM's directory on a small disk, its template elsewhere.
    let script = "vm -- true; mkdir -p /mnt/small/state && mount -t tmpfs -o size=64m small /mnt/small && \
        export XDG_STATE_HOME=/mnt/small/state && cp -a ~/.local/state/banger /mnt/small/state/ 2>/dev/null; \
        mkdir -p $XDG_STATE_HOME; \
        vm -- sh -c 'dd if=/dev/urandom of=/root/big bs=1M count=200; sync; sleep 600'; status=$?; \
        umount /mnt/small; exit $status";
    let output = lab.sh(script).unwrap();
    assert_eq!(output.status, 243, "{output}");
    assert!(errors(&output).contains("ran out of disk space for the VM's `root` disk"), "{output}");
    assert_nothing_left(&mut lab, &before);
}

#[test]
fn setup_installs_what_its_checksum_says() {
    let Some(mut lab) = lab() else { return };
    let mirror = "mkdir -p /tmp/mirror/v1.12.1/release; cd /tmp/mirror/v1.12.1; \
        pack() { cp $1 release/$2-v1.12.1-x86_64; tar -czf firecracker-v1.12.1-x86_64.tgz release; }; ";
    let script = "pack /usr/local/bin/firecracker firecracker; pack /bin/true jailer; \
        banger setup --mirror file:///tmp/mirror";
    let refused = lab.sh(&format!("{mirror}{script}")).unwrap();
    assert_eq!(refused.status, 241, "{refused}");
    assert!(errors(&refused).contains("`jailer` has the checksum"), "{refused}");
    // The release's own, and a VM in it.
    let script = "pack /usr/local/bin/jailer jailer && banger setup --mirror file:///tmp/mirror && \
        mkdir /tmp/aside && mv /usr/local/bin/firecracker /usr/local/bin/jailer /tmp/aside && \
        vm --jail -- echo installed; status=$?; mv /tmp/aside/* /usr/local/bin; \
        rm -r ~/.local/state/banger/programs /tmp/aside; exit $status";
    let installed = lab.sh(&format!("{mirror}{script}")).unwrap();
    assert!(installed.success() && text(&installed) == "installed\n", "{installed}");
}
