#!/bin/sh
set -eu
install -m 755 profile_like_nix_env /usr/local/bin/profile-like-nix-env
sh ./setup.sh
