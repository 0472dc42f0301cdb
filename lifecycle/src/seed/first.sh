# Process 1 once the root filesystem is in place. Starts what would be lost in the move from the
# initrd, then becomes systemd, or waits for the agent, which also reaps orphans.
# usage: first.sh quick|systemd ROOT_DEVICE ports|vsock
cd /

# The agent speaks on the console from now on; its first word is that the guest is ready. A guest
# without it is of no use.
agent() {
    /run/banger/agent "$1" <>/dev/ttyS0 >&0 2>&0
    echo "banger: gave up: its agent has ended" >/dev/ttyS0
    /run/banger/busybox poweroff -f
}

# Takes the space that the overlay grants; nothing waits for it.
[ -x /sbin/resize2fs ] && /sbin/resize2fs "$2" >/dev/null 2>&1 &

if [ "$1" = systemd ]; then
    agent "$3" &
    exec /sbin/init
fi
agent "$3"
