#!/bin/sh
# Boots systemd as process 1 of namespaces of its own, with the units of a directory.
#
#   systemd.sh UNITS TARGET
#
# It gets a cgroup of its own in the unified hierarchy, a fresh /run and /etc/systemd, and sees no
# unit but those. Ends when systemd does, and removes the cgroup.
set -eu

if [ "${1:-}" = --inside ]; then
    mount --make-rprivate /
    mount -t tmpfs tmpfs /run
    mkdir -p /run/systemd/system
    cp -a "$2/." /run/systemd/system/
    umount -R /sys/fs/cgroup
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    mount -t tmpfs tmpfs /etc/systemd
    mkdir /etc/systemd/system
    exec env -i container=bench PATH=/usr/local/bin:/usr/bin:/bin /lib/systemd/systemd \
        --system --unit="$3" --log-target=console --log-level=warning --show-status=no
fi

unified=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
[ -n "$unified" ] || { echo "no cgroup v2 is mounted" >&2; exit 1; }
group="$unified/osmoda-bench-$$"
mkdir "$group"
# From the leaves up; the kernel refuses what is in use.
trap 'find "$group" -depth -type d -exec rmdir {} +' EXIT
sh -c 'echo $$ >"$1/cgroup.procs"; shift; exec "$@"' sh "$group" \
    unshare --fork --kill-child=KILL --pid --mount --mount-proc --cgroup --uts --ipc \
    sh "$0" --inside "$1" "$2" || true
