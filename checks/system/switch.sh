#!/bin/sh
# Switches the machine to this system: NixOS' switch-to-configuration, in its order, with its lock
# and its exit codes, as far as osmoda meets them.
set -u
system=@out@
action="${1-}"

case "$action" in
switch | boot | test) ;;
*)
    echo "usage: switch-to-configuration switch|boot|test" >&2
    exit 1
    ;;
esac

mkdir -p /run/nixos
exec 9>/run/nixos/switch-to-configuration.lock
if ! flock --nonblock 9; then
    echo "Could not acquire lock" >&2
    exit 11
fi
if [ -e /run/refuse ]; then
    echo "Pre-switch check 'refuse' failed" >&2
    exit 1
fi
if [ "$action" = boot ]; then
    exit 0
fi
if ! cmp -s /run/current-system/init-interface-version "$system/init-interface-version"; then
    echo "warning: the new configuration has an init that is incompatible with this one; reboot" >&2
    exit 100
fi

# Which units are others now.
old="$(readlink -f /etc/static)/systemd/system"
new="$system/etc/systemd/system"
stop='' start='' reload='' restart=''
for unit in "$old"/*.service; do
    [ -e "$new/${unit##*/}" ] || stop="$stop ${unit##*/}"
done
for unit in "$new"/*.service; do
    name="${unit##*/}"
    if [ ! -e "$old/$name" ]; then
        start="$start $name"
    elif ! cmp -s "$unit" "$old/$name"; then
        if grep -q '^X-ReloadIfChanged=true' "$unit"; then
            reload="$reload $name"
        else
            restart="$restart $name"
        fi
    fi
done

if [ -n "$stop" ]; then
    echo "stopping the following units:$stop"
    systemctl stop $stop
fi
echo "activating the configuration..."
code=0
"$system/activate" || code=2
systemctl reset-failed
systemctl daemon-reload
if [ -n "$reload" ]; then
    echo "reloading the following units:$reload"
    systemctl reload $reload
fi
if [ -n "$restart" ]; then
    echo "restarting the following units:$restart"
    systemctl restart $restart
fi
if [ -n "$start" ]; then
    echo "starting the following units:$start"
    systemctl start $start
fi

failed=''
for unit in $reload $restart $start; do
    if systemctl --quiet is-failed "$unit"; then
        failed="$failed, $unit"
    fi
done
if [ -n "$failed" ]; then
    echo "warning: the following units failed: ${failed#, }" >&2
    code=4
fi
exit "$code"
