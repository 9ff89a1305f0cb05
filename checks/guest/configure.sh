#!/bin/sh
# Turns a freshly debootstrapped tree into the guest. Runs inside the tree (chroot), as root.
# Everything here serves a quick and quiet boot: emulated, each needless unit costs time.
set -eu

echo machine >/etc/hostname
echo '127.0.0.1 localhost machine' >/etc/hosts
echo '/dev/nvme0n1 / ext4 defaults 0 0' >/etc/fstab
ln -sf /usr/share/zoneinfo/UTC /etc/localtime
# On the serial console of a kept guest, root needs no password.
passwd --delete root >/dev/null

# With an id of its own the machine does not take this for its first boot, which would enable
# and generate a good deal. The id is the same for every run, as a real machine's is.
systemd-machine-id-setup >/dev/null

mkdir -p /etc/systemd/journald.conf.d /etc/systemd/system.conf.d /var/log/journal
cat >/etc/systemd/journald.conf.d/guest.conf <<'CONF'
# The journal goes to the serial console too: there the driver takes it down.
[Journal]
Storage=persistent
ForwardToConsole=yes
TTYPath=/dev/ttyS0
MaxLevelConsole=info
RateLimitIntervalSec=0
CONF
cat >/etc/systemd/system.conf.d/guest.conf <<'CONF'
[Manager]
# The journal on the console tells the same.
ShowStatus=no
# An emulated machine is slow; a unit is given time.
DefaultTimeoutStartSec=300
DefaultDeviceTimeoutSec=300
CONF

# The driver's second disk; this module is loaded before the backdoor opens.
echo virtio_blk >/etc/modules-load.d/guest.conf

# A single-user Nix for root, which never waits for a network that is not there.
mkdir -p /etc/nix
cat >/etc/nix/nix.conf <<'CONF'
build-users-group =
experimental-features = nix-command flakes
sandbox = false
substituters =
CONF

# The guest is thrown away after the scenario: nothing needs upkeep, and nobody logs in.
systemctl mask \
    apt-daily.service apt-daily.timer apt-daily-upgrade.service apt-daily-upgrade.timer \
    dpkg-db-backup.service dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
    fstrim.timer systemd-tmpfiles-clean.timer \
    systemd-logind.service systemd-user-sessions.service \
    getty@tty1.service getty-static.service serial-getty@ttyS0.service serial-getty@hvc0.service \
    console-getty.service getty.target \
    systemd-networkd.service systemd-networkd-wait-online.service systemd-timesyncd.service \
    networking.service apparmor.service \
    systemd-hwdb-update.service systemd-firstboot.service ldconfig.service \
    systemd-journal-catalog-update.service systemd-update-done.service systemd-pcrphase.service \
    systemd-update-utmp.service systemd-udev-settle.service systemd-random-seed.service \
    systemd-binfmt.service proc-sys-fs-binfmt_misc.automount sys-kernel-debug.mount \
    sys-kernel-tracing.mount dev-hugepages.mount dev-mqueue.mount \
    systemd-pstore.service kmod-static-nodes.service \
    modprobe@configfs.service modprobe@dm_mod.service modprobe@drm.service \
    modprobe@efi_pstore.service modprobe@loop.service >/dev/null 2>&1
# Generators run at each boot and each reload; the one for /etc/fstab is enough.
mkdir -p /etc/systemd/system-generators
for generator in /usr/lib/systemd/system-generators/*; do
    case "$generator" in
    */systemd-fstab-generator) ;;
    *) ln -s /dev/null "/etc/systemd/system-generators/${generator##*/}" ;;
    esac
done
systemctl set-default multi-user.target >/dev/null 2>&1
systemctl enable backdoor.service >/dev/null 2>&1

# The kernel is started from outside and needs no initrd: its drivers for this machine's disk
# and file system are built in. The rest is ballast of every overlay.
rm -rf /boot/initrd.img-* /initrd.img* /var/cache/apt /var/lib/apt/lists/* /var/log/*.log \
    /usr/share/doc /usr/share/man /usr/share/locale /usr/share/info /usr/share/lintian
