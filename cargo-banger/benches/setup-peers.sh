#!/bin/sh
# Installs what the benchmark `start` compares with: virtme-ng in a Python environment of its own, and a
# Debian kernel that it can boot, unpacked without being installed. Needs a Debian or Ubuntu host, python3-venv, and
# busybox, udev and kmod on the host: virtme-ng's guest uses the host's own files. Missing ones are installed (root or
# sudo).
#
# usage: setup-peers.sh [DIRECTORY]        default: $XDG_CACHE_HOME/banger-bench
set -eu
peers=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/banger-bench}
mkdir -p "$peers"
cd "$peers"

missing=
command -v depmod >/dev/null || [ -x /sbin/depmod ] || missing="$missing kmod"
[ -x /lib/systemd/systemd-udevd ] || command -v udevd >/dev/null || missing="$missing udev"
command -v busybox >/dev/null || missing="$missing busybox-static"
python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"
if [ -n "$missing" ]; then
    sudo=
    [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo apt-get update
    # shellcheck disable=SC2086
    $sudo apt-get install -y --no-install-recommends $missing
fi

[ -x venv/bin/vng ] || { python3 -m venv venv && venv/bin/pip install --quiet virtme-ng; }

if [ ! -e kernel/vmlinuz ]; then
    case $(dpkg --print-architecture) in
    amd64) meta=linux-image-amd64 ;;
    *) echo "the comparison is made for amd64 only" >&2; exit 1 ;;
    esac
    package=$(apt-cache depends "$meta" | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
    [ -n "$package" ] || { echo "no kernel package: is this Debian, and did apt-get update run?" >&2; exit 1; }
    rm -rf kernel part
    mkdir part
    (cd part && apt-get download "$package" && dpkg -x ./*.deb . && rm ./*.deb)
    release=${package#linux-image-}
    PATH=$PATH:/sbin:/usr/sbin depmod -b "$PWD/part" "$release"
    # virtme-ng looks for the modules in the directories above the kernel.
    ln -s "boot/vmlinuz-$release" part/vmlinuz
    mv part kernel
fi
echo "virtme-ng and a kernel are in $peers"
