#!/bin/sh
# Makes the files of a system those of the machine, and the system what runs: NixOS' `activate`.
# Runs before systemd at boot, and in a switch.
set -u
system=@out@
code=0

mkdir -p /run/nixos
ln -sfn "$system/etc" /etc/static.new && mv -T /etc/static.new /etc/static
mkdir -p /etc/osmoda /etc/systemd/system/multi-user.target.wants
ln -sfn /etc/static/osmoda/agents /etc/osmoda/agents.new && mv -T /etc/osmoda/agents.new /etc/osmoda/agents
for unit in "$system"/etc/systemd/system/*.service; do
    name="${unit##*/}"
    for place in "/etc/systemd/system/$name" "/etc/systemd/system/multi-user.target.wants/$name"; do
        ln -sfn "/etc/static/systemd/system/$name" "$place"
    done
done
for link in /etc/systemd/system/*.service /etc/systemd/system/multi-user.target.wants/*.service; do
    case "$(readlink "$link")" in
    /etc/static/*) [ -e "$link" ] || rm -f "$link" ;;
    esac
done

# What a scenario wants to happen in the middle.
if [ -e /run/middle ]; then
    sh /run/middle || code=1
fi

ln -sfn "$system" /run/current-system.new && mv -T /run/current-system.new /run/current-system
exit "$code"
