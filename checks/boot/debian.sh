#!/bin/sh
# The guest has osmoda as a service, with this scenario's two agents; and `deploy`, which does what
# an administrator of a machine without NixOS does.
set -eu

cat >/usr/local/bin/deploy <<'DEPLOY'
#!/bin/sh
set -eu
case "$1" in
upgraded)
    # The same program in another file, as a newer one would be.
    cp /usr/local/bin/osmoda /usr/local/bin/.osmoda.new
    mv /usr/local/bin/.osmoda.new /usr/local/bin/osmoda
    systemctl kill --signal=USR2 --kill-whom=main osmoda.service
    ;;
removed)
    systemctl disable --now --quiet osmoda.service
    # Agents that are units of their own outlive the daemon.
    systemctl stop osmoda.slice
    rm -rf /usr/local/bin/osmoda /etc/systemd/system/osmoda.service*
    systemctl daemon-reload
    ;;
esac
DEPLOY
chmod 755 /usr/local/bin/deploy
sh ./osmoda.sh
