#!/bin/sh
# The floor under `cargo banger run --cold --no-sync -- true`: the same boot as one would write it by hand, with
# nothing checked, nothing recorded and every file made beforehand. Used by the benchmark `start`.
#
# usage: raw-boot.sh BASE SEED PORT QEMU_ARG...
#   BASE      the root filesystem's image, never written to
#   SEED      a directory with ssh_config and known_hosts
#   PORT      a free TCP port of 127.0.0.1, to which QEMU_ARG... forward the guest's sshd
#   QEMU_ARG  QEMU's arguments, where root.qcow2 is the overlay, sources.qcow2 and build.qcow2 two more disks and the console is left out
#
# Prints the time in ns since 1970 as each step ends; `date` costs a ms each time.
set -eu
base=$1 seed=$2 port=$3
shift 3

run=$(mktemp -d)
qemu=
trap '[ -z "$qemu" ] || kill -9 "$qemu" 2>/dev/null || :; rm -rf "$run"' EXIT
cd "$run"

qemu-img create -q -f qcow2 -F raw -b "$base" root.qcow2 $(($(stat -c %s "$base") + (8 << 30)))
cp "$seed/sources.qcow2" "$seed/build.qcow2" .
date '+overlay %s%N'

mkfifo console
qemu-system-x86_64 "$@" -chardev stdio,id=console,signal=off -serial chardev:console \
    </dev/null >console 2>qemu.log &
qemu=$!
# Kept open, so that QEMU can go on writing once grep has seen its line.
exec 3<console
grep -q -m 1 '^banger: ready' <&3 || { cat qemu.log >&2; exit 1; }
date '+boot %s%N'

ssh -F "$seed/ssh_config" -p "$port" -o ControlPath=none -o UserKnownHostsFile="$seed/known_hosts" vm true
date '+ssh %s%N'

kill -9 "$qemu"
wait "$qemu" 2>/dev/null || :
qemu=
