#!/bin/sh
# What the kernel starts in the Debian guest: NixOS' stage 2. It activates the system that the
# profile names, and becomes systemd.
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs /run
system="$(readlink -f /nix/var/nix/profiles/system)"
ln -s "$system" /run/booted-system
"$system/activate"
exec /lib/systemd/systemd
