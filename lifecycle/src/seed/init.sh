#!/bin/busybox sh
# Process 1 of a guest, from the initrd: finds the root disk, starts sshd and hands over to first.sh
# in the root filesystem, which starts banger's agent. What makes this guest differ from others
# (name, disks, random numbers) it is told by the agent afterwards.
# Every step that may fail says why on the console, where the host is listening.
export PATH=/bin:/sbin:/usr/bin:/usr/sbin

fail() {
    echo "banger: gave up: $*"
    busybox poweroff -f
    busybox sleep 60
}

busybox mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
. /seed/config

# Loads modules; one that is built in, or is of another kernel, is no reason to stop.
load() {
    for module in /modules/"$1"/*.ko; do
        [ -e "$module" ] && insmod "$module" 2>>/insmod.log
    done
}

# Prints the device of the disk with this serial number.
disk() {
    for device in /sys/block/vd*; do
        serial=
        [ -e "$device/serial" ] && read -r serial <"$device/serial"
        [ "$serial" = "$1" ] && echo "/dev/${device##*/}"
    done
}

load disk
root="${ROOT:-$(disk root)}"
[ -b "$root" ] || fail "no root disk: the kernel needs virtio_mmio and virtio_blk ($(tail -n 1 /insmod.log 2>/dev/null))"
mount -t ext4 -o noatime,noinit_itable "$root" /root 2>/insmod.log ||
    fail "cannot mount the root disk: $(cat /insmod.log)"
[ -x /root/usr/sbin/sshd ] || fail "the root disk has no /usr/sbin/sshd (package openssh-server)"

# What the network, disks and entropy need loads beside the rest: the guest has two CPUs more often than not.
(
    load late
    ip link set lo up
    # A clone gets another hardware address: the VMM's network must hear of it at once.
    [ -e /proc/sys/net/ipv4/conf/eth0 ] && echo 1 >/proc/sys/net/ipv4/conf/eth0/arp_notify
    if [ -n "$ADDRESS" ]; then
        ip addr add "$ADDRESS" dev eth0 && ip link set eth0 up && ip route add default via "$GATEWAY" ||
            echo "banger: no network device"
    fi
    [ -z "$DOOR" ] || { ip addr add "$DOOR" dev eth1 && ip link set eth1 up; } ||
        echo "banger: no second network device"
) &
network=$!

mkdir -p /root/proc /root/sys /root/dev /root/run /root/tmp
mount -t proc proc /root/proc
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs /root/run
mkdir -p /root/run/banger /root/run/sshd
chmod 700 /root/run/banger
cp /seed/* /bin/busybox /root/run/banger/
chmod 600 /root/run/banger/host_key
mount --move /sys /root/sys
mount -t devtmpfs devtmpfs /root/dev
mkdir -p /root/dev/pts /root/dev/shm
mount -t devpts -o mode=620,gid=5,ptmxmode=666 devpts /root/dev/pts
mount -t tmpfs -o mode=1777 tmpfs /root/dev/shm

hostname "$HOSTNAME"
echo "$HOSTNAME" >/root/etc/hostname
printf '127.0.0.1 localhost\n127.0.1.1 %s\n::1 localhost\n' "$HOSTNAME" >/root/etc/hosts
# Without one, systemd takes this for the first boot of an installation.
read -r uuid </proc/sys/kernel/random/uuid
echo "${uuid//-/}" >/root/etc/machine-id
[ -n "$DNS" ] && { rm -f /root/etc/resolv.conf; echo "nameserver $DNS" >/root/etc/resolv.conf; }

# -r: each connection is served by a fork of this process, without starting the program anew. What
# that saves is half of an emulated login; what it costs is a fresh address space layout.
chroot /root /usr/sbin/sshd -r -f /run/banger/sshd_config -E /run/banger/sshd.log &
sshd=$!
wait "$network"

# sshd leaves its starter before it listens, and writes its pid file after.
wait "$sshd" || fail "sshd does not start: $(cat /root/run/banger/sshd.log)"
tries=0
until [ -s /root/run/banger/sshd.pid ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 3000 ] || fail "sshd does not listen: $(cat /root/run/banger/sshd.log)"
    usleep 10000
done

if [ "$INIT" = systemd ]; then
    # banger's sshd keeps the port; a login prompt on the console would only write into the log.
    mkdir -p /root/run/systemd/system
    for unit in ssh.service ssh.socket serial-getty@ttyS0.service getty@tty1.service; do
        ln -sf /dev/null "/root/run/systemd/system/$unit"
    done
    # Debian's is an absolute symlink, which only holds inside.
    chroot /root /run/banger/busybox test -x /sbin/init || fail "the root disk has no /sbin/init (package systemd-sysv)"
fi
exec /bin/busybox switch_root /root /run/banger/busybox sh /run/banger/first.sh "$INIT" "$root" "$CHANNEL"
