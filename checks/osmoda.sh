#!/bin/sh
# Installs osmoda in the Debian guest as its service file tells people to, with the scenario's
# agents, and starts it. Runs in the scenario's folder in the guest, from its debian.sh.
set -eu

install -m 755 osmoda /usr/local/bin/
install -m 644 osmoda.service /etc/systemd/system/
mkdir -p /etc/osmoda
cp -r agents /etc/osmoda/agents
# A new unit is found without a reload of them all, which takes seconds here.
systemctl enable --quiet --no-reload osmoda.service
systemctl start osmoda.service
