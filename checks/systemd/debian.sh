#!/bin/sh
# The guest has the conformance suite of the systemd runtime as a command. Its own systemd is what
# the suite runs under.
set -eu

install -m 755 osmoda-test-agent /usr/local/bin/
install -m 755 conformance_systemd /usr/local/bin/osmoda-conformance-systemd

# The suite was compiled to look for the test agent where it was built.
while read -r name origin; do
    if [ "$name" = osmoda-test-agent ]; then
        mkdir -p "$(dirname "$origin")"
        ln -sf /usr/local/bin/osmoda-test-agent "$origin"
    fi
done <origins
