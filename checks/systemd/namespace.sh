#!/usr/bin/env bash
# Runs a command under a systemd of its own: PID 1 of new namespaces, with a cgroup v2 (without
# controllers where the host's v2 has none), a private /run, /tmp and /var, a journal and a bus.
# Nothing of it is left when this ends, however it ends.
#
#   checks/systemd/namespace.sh COMMAND [ARGUMENT...]
#
# The command is a service of that systemd, run as root with this environment and working
# directory; its output and its exit code are this script's. Needs root, util-linux, systemd and
# dbus. Exit code 77: such a systemd cannot be had here, and stderr says why.
set -euo pipefail

BOOT_TRIES=600 # of 50 ms each

cannot() {
    echo "namespace.sh: $1" >&2
    exit 77
}

# PID 1 of the new namespaces before it becomes systemd: mounts what is to be private.
if [ "${1-}" = --inside ]; then
    mount --make-rprivate /
    mount -t proc proc /proc
    umount -R /sys/fs/cgroup 2>/dev/null || true
    mount -t cgroup2 -o nsdelegate cgroup2 /sys/fs/cgroup
    # /dev/shm too: systemd walks all of it at the end of a service with RemoveIPC=.
    for directory in /run /tmp /var /dev/shm; do
        mount -t tmpfs -o mode=0755 tmpfs "$directory"
    done
    chmod 1777 /tmp /dev/shm
    mkdir -p /var/lib /var/cache /var/log/journal /run/lock /run/etc/upper /run/etc/work
    mkdir -m 1777 /var/tmp
    ln -s /run /var/run
    # What is set for good is set for these namespaces.
    mount -t overlay -o lowerdir=/etc,upperdir=/run/etc/upper,workdir=/run/etc/work overlay /etc

    # As systemd has it where it booted itself: what its children mount for a service (credentials)
    # reaches that service.
    mount --make-rshared /

    # Nothing of the host's own units: they would set its clock, its devices and its sysctls.
    units=/run/systemd/system
    mkdir -p "$units" /run/systemd/journald.conf.d
    for unit in systemd-journald.service systemd-journald.socket systemd-journald-dev-log.socket; do
        cp "/usr/lib/systemd/system/$unit" "$units" 2>/dev/null || cp "/lib/systemd/system/$unit" "$units"
    done
    for target in sysinit basic shutdown; do
        printf '[Unit]\nDefaultDependencies=no\n' >"$units/$target.target"
    done
    cat >"$units/namespace.target" <<UNIT
[Unit]
DefaultDependencies=no
Requires=dbus.socket systemd-journald.socket systemd-journald-dev-log.socket
After=dbus.socket systemd-journald.socket systemd-journald-dev-log.socket
UNIT
    cat >"$units/dbus.service" <<UNIT
[Unit]
DefaultDependencies=no
Requires=dbus.socket
[Service]
Type=notify
ExecStart=$(command -v dbus-daemon) --system --address=systemd: --nofork --nopidfile --systemd-activation --syslog-only
UNIT
    cat >"$units/dbus.socket" <<UNIT
[Unit]
DefaultDependencies=no
[Socket]
ListenStream=/run/dbus/system_bus_socket
UNIT
    printf '[Journal]\nStorage=persistent\nReadKMsg=no\nRateLimitIntervalSec=0\nForwardToSyslog=no\n' \
        >/run/systemd/journald.conf.d/namespace.conf
    exec env -i container=osmoda PATH="$PATH" \
        SYSTEMD_UNIT_PATH="/etc/systemd/system.control:/run/systemd/system.control:/run/systemd/transient:$units" \
        "$SYSTEMD" --system --unit=namespace.target \
        --log-target=journal --log-level=info --show-status=no --dump-core=no
fi

[ $# -gt 0 ] || { echo "usage: namespace.sh COMMAND [ARGUMENT...]" >&2; exit 2; }
[ "$(id -u)" = 0 ] || cannot "only root can make such namespaces"
for program in unshare nsenter dbus-daemon systemd-run journalctl; do
    command -v "$program" >/dev/null || cannot "$program is not installed"
done
SYSTEMD=
for candidate in /usr/lib/systemd/systemd /lib/systemd/systemd; do
    [ -x "$candidate" ] && SYSTEMD=$candidate && break
done
[ -n "$SYSTEMD" ] || cannot "systemd is not installed"
export SYSTEMD

unified=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
[ -n "$unified" ] || cannot "no cgroup v2 is mounted"
own=$unified/osmoda-namespace-$$
mkdir "$own" 2>/dev/null || cannot "no cgroup can be made below $unified"

boot=
end() {
    # Who kills the namespaces' PID 1 kills all in them.
    if [ -n "$boot" ]; then
        kill -KILL "$boot" 2>/dev/null || true
        wait "$boot" 2>/dev/null || true
    fi
    for _ in $(seq 100); do
        find "$own" -depth -type d -exec rmdir {} + 2>/dev/null && break
        sleep 0.05
    done
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

log=$(mktemp)
bash -c 'echo $$ >"$1/cgroup.procs" && shift && exec "$@"' - "$own" \
    unshare --pid --mount --uts --ipc --cgroup --fork --kill-child \
    bash "$(readlink -f "$0")" --inside >"$log" 2>&1 </dev/null &
boot=$!

inside() {
    nsenter --target "$first" --pid --mount --uts --ipc --cgroup -- "$@"
}
ready=
for _ in $(seq "$BOOT_TRIES"); do
    kill -0 "$boot" 2>/dev/null || break
    first=$(cat "/proc/$boot/task/$boot/children" 2>/dev/null | tr -d ' ')
    if [ -n "$first" ] && inside systemctl is-active --quiet namespace.target 2>/dev/null; then
        ready=yes
        break
    fi
    sleep 0.05
done
if [ -z "$ready" ]; then
    cat "$log" >&2
    rm -f "$log"
    cannot "systemd did not come up in its namespaces"
fi
rm -f "$log"

environment=()
while IFS= read -r -d '' variable; do
    # systemd takes no name with another character (nextest sets some).
    [[ $variable =~ ^[A-Za-z_][A-Za-z0-9_]*= ]] || continue
    case $variable in
        _=* | SYSTEMD=* | SHLVL=* | PWD=* | OLDPWD=*) ;;
        *) environment+=("--setenv=$variable") ;;
    esac
done < <(env -0)
set +e
inside systemd-run --quiet --pipe --wait --collect --service-type=exec \
    --unit=namespace-command --working-directory="$PWD" "${environment[@]}" -- "$@"
exit $?
