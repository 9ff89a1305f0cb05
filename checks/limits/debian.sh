#!/bin/sh
# The guest has osmoda as a service with agents that go beyond their limits, and the conformance
# suite of the native runtime as a command.
set -eu

install -m 755 osmoda-test-agent /usr/local/bin/
install -m 755 conformance_native /usr/local/bin/osmoda-conformance

# The suite was compiled to look for the test agent where it was built.
while read -r name origin; do
    if [ "$name" = osmoda-test-agent ]; then
        mkdir -p "$(dirname "$origin")"
        ln -sf /usr/local/bin/osmoda-test-agent "$origin"
    fi
done <origins

RUNTIME=native sh ./osmoda.sh
