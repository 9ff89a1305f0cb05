#!/bin/sh
set -eu
sh ./setup.sh
