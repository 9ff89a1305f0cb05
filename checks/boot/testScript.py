# osmoda as a service of the machine: it heals its agents, survives its own death without their
# noticing, and takes a reboot for what it is.
#
# The machine has two agents, `gateway` and, depending on it, `worker`; both run until stopped.

import json

AGENTS = ["gateway", "worker"]


def status(name):
    """What osmoda says of an agent."""
    items = json.loads(machine.succeed("osmoda status -o json"))["items"]
    return next(item["status"] for item in items if item["metadata"]["name"] == name)


def copies(name):
    """Processes that are the main process of an agent: leaders of a session, as each one is."""
    return machine.succeed(
        f"for p in $(grep -lszx 'OSMODA_AGENT={name}' /proc/[0-9]*/environ | cut -d/ -f3); do"
        " if [ \"$(ps -o sid= -p $p | tr -d ' ')\" = $p ]; then echo $p; fi; done"
    ).split()


def demand_one_copy_each():
    """Every agent is ready and runs exactly once, in the process that osmoda means."""
    for name in AGENTS:
        machine.succeed(f"osmoda wait {name} --for Ready --timeout 2m")
        assert copies(name) == [str(status(name)["pid"])], f"{name}: {copies(name)}"


def daemon_pid():
    """Main process of the service."""
    return machine.get_unit_info("osmoda.service")["MainPID"]


def kill_and_wait(name):
    """Kills an agent's main process and waits until another has taken its place.

    Gives the signal that osmoda says has ended it, or None where it cannot know.
    """
    before = status(name)
    machine.succeed(f"kill -KILL {before['pid']}")

    def is_back(_last):
        after = status(name)
        return after["ready"] and after["pid"] != before["pid"]

    retry(is_back, 120)
    after = status(name)
    assert after["restarts"] == before["restarts"] + 1, after
    return after["lastExit"]["signal"]


def entries():
    """All entries of the ledger; an export has a line before and one after them."""
    lines = machine.succeed("osmoda ledger export --format jsonl").splitlines()
    return [json.loads(line)["entry"] for line in lines[1:-1]]


def told_of(kind):
    """How many entries of a kind the ledger has."""
    return sum(entry["kind"] == kind for entry in entries())


def failures():
    """How many failures the ledger tells of."""
    return told_of("FailureDetected")


start_all()

with subtest("the service comes up and so do its agents, once each"):
    machine.wait_for_unit("osmoda.service")
    demand_one_copy_each()

with subtest("a killed agent is healed and the other one left alone"):
    worker = status("worker")["pid"]
    assert kill_and_wait("gateway") == 9
    assert status("worker")["pid"] == worker, "the worker was restarted too"
    demand_one_copy_each()

with subtest("the daemon's own death is noticed by nobody but systemd"):
    daemon = daemon_pid()
    agents = {name: status(name)["pid"] for name in AGENTS}
    told = failures()
    machine.succeed("systemctl kill --signal=KILL --kill-whom=main osmoda.service")
    retry(lambda _last: daemon_pid() not in ("0", daemon), 120)
    machine.wait_for_unit("osmoda.service")
    demand_one_copy_each()
    now = {name: status(name)["pid"] for name in AGENTS}
    assert now == agents, f"the agents were {agents} and are {now}"
    assert failures() == told, "the daemon's death was taken for a failure of its agents"

with subtest("agents that were adopted are healed like others"):
    # It is not the new daemon's child: before Linux 6.15 nobody tells it how the agent ended.
    assert kill_and_wait("worker") in (9, None)
    demand_one_copy_each()

with subtest("the daemon becomes its successor in place, and systemd takes it for a reload"):
    daemon = daemon_pid()
    agents = {name: status(name)["pid"] for name in AGENTS}
    begun = told_of("NodeStarted")
    machine.succeed("systemctl kill --signal=USR2 --kill-whom=main osmoda.service")
    retry(lambda _last: told_of("NodeStarted") == begun + 1, 120)
    # Not "deactivating": then it would be ended when the time for a stop is over.
    machine.wait_for_unit("osmoda.service")
    assert machine.get_unit_info("osmoda.service")["SubState"] == "running"
    demand_one_copy_each()
    now = {name: status(name)["pid"] for name in AGENTS}
    assert daemon_pid() == daemon and now == agents, f"{daemon} {agents}: {daemon_pid()} {now}"

with subtest("a reboot is not taken for a crash, and no agent for one that still runs"):
    told = failures()
    machine.shutdown()
    machine.start()
    machine.wait_for_unit("osmoda.service")
    demand_one_copy_each()
    assert failures() == told, "the reboot was taken for a failure"

with subtest("the ledger tells all of this and verifies"):
    verdict = json.loads(machine.succeed("osmoda ledger verify -o json"))
    assert verdict["ok"] is True, verdict
    told = entries()
    assert [entry["seq"] for entry in told] == list(range(verdict["size"]))
    starts = [entry["boot"] for entry in told if entry["kind"] == "NodeStarted"]
    assert len(starts) == 4 and len(set(starts)) == 2, starts
    # The daemon that was killed could not say that it stops; the one that made room for its
    # successor could, and so could the one that was shut down.
    assert sum(entry["kind"] == "NodeStopped" for entry in told) == 2
