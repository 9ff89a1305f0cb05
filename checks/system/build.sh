# Builds one system: the builder of systems.nix.
set -eu

mkdir -p "$out/bin" "$out/etc/systemd/system" "$out/etc/osmoda/agents" "$out/specialisation"
for part in kernel initrd kernel-modules; do
    ln -s "$kernel" "$out/$part"
done
printf 'systemd 2' >"$out/init-interface-version"
if [ "$name" = failing-6 ]; then
    printf 'systemd 3' >"$out/init-interface-version"
fi

cp "$manifestsPath" "$out/etc/osmoda/agents/agents.yaml"
# An emulated machine on a busy one may stand still for longer than a healthy daemon ever does.
sed -e "/^\[Unit\]/a X-ReloadIfChanged=true\nX-Reload-Triggers=$out/etc/osmoda/agents" \
    -e "/^\[Service\]/a Environment=OSMODA_RUNTIME=$runtime" \
    -e "s/^WatchdogSec=.*/WatchdogSec=5min/" \
    "$service" >"$out/etc/systemd/system/osmoda.service"
if [ -n "$stranger" ]; then
    cat >"$out/etc/systemd/system/stranger.service" <<'UNIT'
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=test ! -e /run/break
[Install]
WantedBy=multi-user.target
UNIT
fi

for script in activate switch; do
    sed "s,@out@,$out," "$(eval echo "\$$script")" >"$out/$script"
    chmod 755 "$out/$script"
done
mv "$out/switch" "$out/bin/switch-to-configuration"

set -- $names
for special in $specialisations; do
    ln -s "$special" "$out/specialisation/$1"
    shift
done
