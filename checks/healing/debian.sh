#!/bin/sh
# The guest has osmoda as a service with agents that fail when they are told to, and `deploy NAME`,
# which changes one agent's spec as an editor would.
set -eu

install -m 755 osmoda-test-agent /usr/local/bin/
mkdir -p /run/answers agents /etc/deployments
(umask 077; echo hunter-two >/etc/secret)

nix eval --json --file debian.nix | python3 -c '
import json, sys
for name, text in json.load(sys.stdin).items():
    place = "agents" if name in ("base", "deployed") else "/etc/deployments"
    open(f"{place}/{name}.yaml", "w").write(text)
'
cat >/usr/local/bin/deploy <<'DEPLOY'
#!/bin/sh
set -eu
cp "/etc/deployments/$1.yaml" /etc/osmoda/agents/.deployed.new
mv /etc/osmoda/agents/.deployed.new /etc/osmoda/agents/deployed.yaml
DEPLOY
chmod 755 /usr/local/bin/deploy

sh ./osmoda.sh
