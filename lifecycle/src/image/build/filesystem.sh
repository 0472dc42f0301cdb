# Packs a tar into an ext4 image. Runs in a mount namespace of its own, so that the tree, which
# lies in memory, is gone when this ends, however it ends.
#   $1 mount point   $2 bytes and $3 inodes of memory for the tree
#   $4 tar           $5 image to make   $6 its size in KiB
set -eu
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
# Where `/` is no mount point, in a chroot, there is nothing to make private.
mount --make-rprivate / 2>/dev/null || :
mount -t tmpfs -o "size=$2,nr_inodes=$3,mode=0755" banger-image "$1"

# Device files are the guest kernel's to make. The rest is what each VM, or nobody, needs.
tar --extract --file "$4" --directory "$1" --numeric-owner --same-permissions \
    --xattrs --xattrs-include=security.capability --warning=no-timestamp \
    --exclude='./dev/*' --exclude='./boot/initrd.img-*' --exclude='./etc/ssh/ssh_host_*' \
    --exclude='./var/cache/apt/*' --exclude='./var/lib/apt/lists/*' --exclude='./var/log/*.log'

# Their content would be the build host's.
for file in etc/machine-id etc/resolv.conf etc/fstab; do
    rm -f "$1/$file"
    : >"$1/$file"
    chmod 0644 "$1/$file"
done
echo banger >"$1/etc/hostname"
sed -i 's|^\(root:.*:\)[^:]*$|\1/bin/bash|' "$1/etc/passwd"

# No journal: a VM's disk is thrown away. The filesystem must be able to grow a thousandfold while
# mounted, which `resize_inode` allows, and the kernel must not then fill the new inode tables with
# zeros in the background: they would all land in the VM's overlay.
mke2fs -q -F -t ext4 -b 4096 -i 16384 -m 0 -L banger-root -O '^has_journal,resize_inode' \
    -E lazy_itable_init=1,root_owner=0:0 -d "$1" "$5" "${6}k"
tune2fs -E mount_opts=noinit_itable "$5" >/dev/null
