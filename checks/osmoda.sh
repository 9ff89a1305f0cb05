#!/bin/sh
# Installs osmoda in the Debian guest as its service file tells people to, with the scenario's
# agents, and starts it. Runs in the scenario's folder in the guest, from its debian.sh.
#
# RUNTIME is what starts agents, native if the scenario does not say: a start in the sandbox of
# systemd's runtime takes an emulated machine seconds. `cargo xtask vm --runtime` leaves a file of
# that name, which goes before.
set -eu

install -m 755 osmoda /usr/local/bin/
install -m 644 osmoda.service /etc/systemd/system/
mkdir -p /etc/osmoda
cp -r agents /etc/osmoda/agents

runtime="${RUNTIME:-native}"
if [ -s runtime ]; then
    runtime="$(cat runtime)"
fi
mkdir -p /etc/systemd/system/osmoda.service.d
# An emulated machine on a busy one may stand still for longer than a healthy daemon ever does.
cat >/etc/systemd/system/osmoda.service.d/guest.conf <<CONF
[Service]
Environment=OSMODA_RUNTIME=$runtime
WatchdogSec=5min
CONF

# A new unit is found without a reload of them all, which takes seconds here.
systemctl enable --quiet --no-reload osmoda.service
systemctl start osmoda.service
