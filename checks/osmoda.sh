#!/bin/sh
# Installs osmoda in the Debian guest as its service file tells people to, with the scenario's
# agents, and starts it. Runs in the scenario's folder in the guest, from its debian.sh.
set -eu

install -m 755 osmoda /usr/local/bin/
install -m 644 osmoda.service /etc/systemd/system/
mkdir -p /etc/osmoda
cp -r agents /etc/osmoda/agents
systemctl enable --quiet --now osmoda.service
