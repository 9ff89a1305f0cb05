#!/bin/sh
# The guest has osmoda as a service, with this scenario's two agents.
set -eu
sh ./osmoda.sh
