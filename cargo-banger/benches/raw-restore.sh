#!/bin/sh
# The floor under `cargo banger run --no-sync -- true`: a clone of a template restored as one would write it by hand,
# with nothing checked, nothing recorded, no identity given and every file made beforehand. Used by the benchmark `start`.
#
# usage: raw-restore.sh TEMPLATE SEED PORT QEMU_ARG...
#   TEMPLATE  a template's directory, never written to
#   SEED      a directory with ssh_config and known_hosts
#   PORT      a free TCP port of 127.0.0.1, to which QEMU_ARG... forward the guest's sshd
#   QEMU_ARG  QEMU's arguments, where root.qcow2 is the overlay, sources.qcow2 and build.qcow2 two more disks; the console and QMP are left out
#
# Prints the time in ns since 1970 as each step ends; `date` costs a ms each time.
set -eu
template=$1 seed=$2 port=$3
shift 3

run=$(mktemp -d)
qemu=
trap '[ -z "$qemu" ] || kill -9 "$qemu" 2>/dev/null || :; rm -rf "$run"' EXIT
cd "$run"

cp "$template/overlay.qcow2" root.qcow2
cp "$seed/sources.qcow2" "$seed/build.qcow2" .
mkfifo qmp.in qmp.out console
# Kept open for reading and writing, so that neither side waits for the other to open them.
exec 4<>qmp.in 5<>qmp.out 6<>console
date '+overlay %s%N'

qemu-system-x86_64 "$@" -chardev pipe,id=qmp,path=qmp -mon chardev=qmp,mode=control \
    -chardev stdio,id=console,signal=off -serial chardev:console \
    7<"$template/state" <&6 >/dev/null 2>qemu.log &
qemu=$!
cat >&4 <<END
{"execute": "qmp_capabilities"}
{"execute": "migrate-set-capabilities", "arguments": {"capabilities": [{"capability": "x-ignore-shared", "state": true}]}}
{"execute": "migrate-incoming", "arguments": {"uri": "fd:7"}}
{"execute": "cont"}
END
while read -r line <&5; do
    case $line in *RESUME*) break ;; esac
done
date '+boot %s%N'

# The sshd of a template stands still until it is told to go on.
printf 'begin\t1\nsignal\t/run/banger/sshd.pid\t18\ngo\n' >&6
ssh -F "$seed/ssh_config" -p "$port" -o ControlPath=none -o UserKnownHostsFile="$seed/known_hosts" vm true
date '+ssh %s%N'

kill -9 "$qemu"
wait "$qemu" 2>/dev/null || :
qemu=
