# What every scenario may use: both drivers run this before its testScript, in the same names.
#
# `machine`, `log` and `retry` are the driver's. Entries of the ledger are dictionaries; `since` is
# the first seq that counts.

import json

PROFILE = "/nix/var/nix/profiles/system"
"""The profile of the machine's own generations."""
SWITCH_LOCK = "/run/nixos/switch-to-configuration.lock"
"""Held by whoever switches the machine."""


# Agents.


def agents():
    """What osmoda says of each agent, by name."""
    items = json.loads(machine.succeed("osmoda status -o json"))["items"]
    return {item["metadata"]["name"]: item["status"] for item in items}


def status(name):
    """What osmoda says of an agent."""
    return agents()[name]


def pids():
    """The main process of every agent."""
    return {name: status["pid"] for name, status in agents().items()}


def copies(name):
    """Processes that are an agent's and have no parent that is: one, if it runs once.

    This is read from /proc, whatever osmoda says.
    """
    roots = machine.succeed(
        f"for p in $(grep -lszx 'OSMODA_AGENT={name}' /proc/[0-9]*/environ | cut -d/ -f3); do"
        " parent=$(sed 's/.*) . //' /proc/$p/stat 2>/dev/null | cut -d' ' -f1);"
        f" grep -qszx 'OSMODA_AGENT={name}' /proc/$parent/environ || echo $p; done"
    )
    return roots.split()


def demand_one_copy_each(names):
    """Every one of these is ready and runs exactly once, in the process that osmoda means."""
    for name in names:
        machine.succeed(f"osmoda wait {name} --for Ready --timeout 3m")
        assert copies(name) == [str(status(name)["pid"])], f"{name}: {copies(name)}"


# The daemon.


def daemon_pid():
    """Main process of the service."""
    return machine.get_unit_info("osmoda.service")["MainPID"]


def kill_osmoda():
    """Ends the daemon with kill -9, and waits for the one that follows."""
    before = daemon_pid()
    machine.succeed("systemctl kill --signal=KILL --kill-whom=main osmoda.service")
    retry(lambda _last: daemon_pid() not in ("0", before), 120)
    machine.wait_for_unit("osmoda.service")


# The ledger.


def entries(since=0, name=None):
    """Its entries, or those about an agent; a whole export has a line before and one after them."""
    chosen = f" --agent {name}" if name else ""
    lines = machine.succeed(f"osmoda ledger export --format jsonl{chosen}").splitlines()
    try:
        rows = [json.loads(line) for line in lines]
    except ValueError:
        log.info("this is no export: " + "\n".join(lines))
        raise
    found = [row["entry"] for row in rows if "entry" in row]
    return [entry for entry in found if entry["seq"] >= since]


def size():
    """How many entries it has."""
    return json.loads(machine.succeed("osmoda ledger head -o json"))["size"]


def count(kind, since=0):
    """How many entries of a kind it has."""
    return sum(entry["kind"] == kind for entry in entries(since))


def cause(entry):
    """The seq of the first cause that an entry names."""
    return entry["causes"][0]["seq"]


def wait_for_entry(kind, since, wanted, name=None):
    """The first entry of a kind that is wanted, once it is there."""
    found = []

    def is_there(last):
        new = entries(since, name)
        found.extend(entry for entry in new if entry["kind"] == kind and wanted(entry))
        if last and not found:
            machine.execute("osmoda status >&2; osmoda plan >&2; systemctl status osmoda >&2")
            if name:
                machine.execute(f"osmoda describe {name} >&2")
            log.info(f"there is no such {kind}, but {json.dumps(new)}")
        return bool(found)

    retry(is_there, 240)
    return found[0]


def agent_entry(name, kind, since, wanted=lambda body: True):
    """The first such entry about an agent whose body is wanted, once it is there."""
    return wait_for_entry(kind, since, lambda entry: wanted(entry["body"]), name)


def demand_whole_ledger():
    """It verifies; gives what was said."""
    verdict = json.loads(machine.succeed("osmoda ledger verify -o json"))
    assert verdict["ok"] is True, verdict
    return verdict


# The machine's own generations: see checks/system/agents.nix.


def places():
    """Store path of each system; to be asked while `base` is what was booted, and runs.

    It becomes the profile's first generation where a NixOS test has none yet.
    """
    base = machine.succeed("readlink -f /run/booted-system").strip()
    machine.succeed(f"test -e {PROFILE} || nix-env --profile {PROFILE} --set {base}")
    links = machine.succeed(
        f"cd {base}/specialisation; for name in *; do echo $name $(readlink -f $name); done"
    )
    return {"base": base, **dict(line.split() for line in links.splitlines())}


def deploy_system(path):
    """What `nixos-rebuild switch` does once a system is built."""
    machine.succeed(
        f"nix-env --profile {PROFILE} --set {path}",
        f"{path}/bin/switch-to-configuration switch >&2",
    )


def running_system():
    """Store path of the system that runs."""
    return machine.succeed("readlink -f /run/current-system").strip()


def next_system():
    """Store path of the system that the next boot brings."""
    return machine.succeed(f"readlink -f {PROFILE}").strip()


def system_entry(kind, since, wanted=lambda body: True):
    """The first such entry about the system whose body is wanted, once it is there."""

    def is_it(entry):
        body = entry["body"]
        is_systems = body.get("scope") == "System" or body.get("what") == "SystemSwitched"
        return is_systems and wanted(body)

    return wait_for_entry(kind, since, is_it)


def demand_proven(path, since):
    """Osmoda calls a system good; gives the entry."""
    wanted = lambda body: body["generation"]["storePath"] == path
    return system_entry("GenerationGood", since, wanted)


def system_status():
    """What `status` says of the system."""
    return json.loads(machine.succeed("osmoda status -o json"))["node"]["system"]
