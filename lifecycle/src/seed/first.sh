# Process 1 once the root filesystem is in place. Starts what would be lost in the move from the
# initrd, then becomes systemd, or waits, which also reaps orphans.
# usage: first.sh quick|systemd ROOT_DEVICE
cd /

# The agent speaks on the console from now on; its first word is that the guest is ready.
/run/banger/agent <>/dev/ttyS0 >&0 2>&0 &
echo -1000 >"/proc/$!/oom_score_adj"

# Takes the space that the overlay grants; nothing waits for it.
[ -x /sbin/resize2fs ] && /sbin/resize2fs "$2" >/dev/null 2>&1 &

[ "$1" = systemd ] && exec /sbin/init
while :; do
    sleep 2147483 &
    wait $!
done
