#!/bin/sh
# The guest has osmoda as a service with agents that leak, read, fork and rest.
set -eu

install -m 755 osmoda-test-agent /usr/local/bin/
RUNTIME=native sh ./osmoda.sh
