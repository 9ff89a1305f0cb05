#!/bin/sh
# Turns the Debian guest into a machine with generations of its whole system, as NixOS is one: the
# first is built, is what the next boot brings, and runs. For the debian.sh of scenarios.
set -eu

install -m 755 osmoda /usr/local/bin/
runtime=native
if [ -s runtime ]; then
    runtime="$(cat runtime)"
fi
system="$(nix-build --no-out-link --argstr runtime "$runtime" systems.nix)"
nix-env --profile /nix/var/nix/profiles/system --set "$system"

# From the next boot on. Then systemd is no longer what /sbin/init is.
rm /usr/sbin/init
install -m 755 init.sh /usr/sbin/init

ln -s "$system" /run/booted-system
"$system/activate"
systemctl daemon-reload
systemctl start osmoda.service stranger.service
