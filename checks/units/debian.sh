#!/bin/sh
# The guest has osmoda as a service whose agents are units.
set -eu

mkdir agents
nix eval --raw --file debian.nix >agents/agents.yaml
RUNTIME=systemd sh ./osmoda.sh
