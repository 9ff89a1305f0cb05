# osmoda as a service of the machine: it heals its agents, survives its own death without their
# noticing, becomes a newer osmoda while they run, and takes a reboot for what it is. A ledger that
# was tampered with is set aside. Once removed, nothing of it is left.
#
# The machine has two agents, `gateway` and, depending on it, `worker`; both run until stopped; and
# `deploy upgraded`, which brings another build of osmoda, and `deploy removed`, which removes it.

AGENTS = ["gateway", "worker"]
LEDGER = "/var/lib/osmoda/ledger.db"


def program_of_daemon():
    """The very file that the daemon executes."""
    return machine.succeed(f"stat --dereference --format=%d:%i /proc/{daemon_pid()}/exe")


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


def failures():
    """How many failures the ledger tells of."""
    return count("FailureDetected")


start_all()

with subtest("the service comes up and so do its agents, once each"):
    machine.wait_for_unit("osmoda.service")
    demand_one_copy_each(AGENTS)

with subtest("a killed agent is healed and the other one left alone"):
    worker = status("worker")["pid"]
    assert kill_and_wait("gateway") == 9
    assert status("worker")["pid"] == worker, "the worker was restarted too"
    demand_one_copy_each(AGENTS)

with subtest("the daemon's own death is noticed by nobody but systemd"):
    before = pids()
    told = failures()
    kill_osmoda()
    demand_one_copy_each(AGENTS)
    assert pids() == before, f"the agents were {before} and are {pids()}"
    assert failures() == told, "the daemon's death was taken for a failure of its agents"

with subtest("agents that were adopted are healed like others"):
    # It is not the new daemon's child: before Linux 6.15 nobody tells it how the agent ended.
    assert kill_and_wait("worker") in (9, None)
    demand_one_copy_each(AGENTS)

with subtest("osmoda is upgraded: the daemon becomes the new one in place, and agents run on"):
    daemon, program = daemon_pid(), program_of_daemon()
    before = pids()
    begun = count("NodeStarted")
    machine.succeed("deploy upgraded >&2")
    retry(lambda _last: count("NodeStarted") == begun + 1, 120)
    # Not "deactivating": then it would be ended when the time for a stop is over.
    machine.wait_for_unit("osmoda.service")
    assert machine.get_unit_info("osmoda.service")["SubState"] == "running"
    assert daemon_pid() == daemon and program_of_daemon() != program, program
    demand_one_copy_each(AGENTS)
    assert pids() == before, f"the agents were {before} and are {pids()}"
    # It is the new one that heals them from now on.
    assert kill_and_wait("gateway") in (9, None)

with subtest("a reboot is not taken for a crash, and no agent for one that still runs"):
    told = failures()
    machine.shutdown()
    machine.start()
    machine.wait_for_unit("osmoda.service")
    demand_one_copy_each(AGENTS)
    assert failures() == told, "the reboot was taken for a failure"

with subtest("the ledger tells all of this and verifies"):
    verdict = demand_whole_ledger()
    told = entries()
    assert [entry["seq"] for entry in told] == list(range(verdict["size"]))
    starts = [entry["boot"] for entry in told if entry["kind"] == "NodeStarted"]
    assert len(starts) == 4 and len(set(starts)) == 2, starts
    # The daemon that was killed could not say that it stops; the one that made room for its
    # successor could, and so could the one that was shut down.
    assert sum(entry["kind"] == "NodeStopped" for entry in told) == 2

with subtest("a ledger that was tampered with is set aside, and agents are supervised"):
    machine.succeed(
        "systemctl stop osmoda.service",
        # All of it in one file, in which something is changed.
        "osmoda ledger backup /root/whole.db",
        f"rm {LEDGER}-*; cp /root/whole.db {LEDGER}",
        f"LC_ALL=C sed --in-place s/NodeStarted/NodeSt4rted/ {LEDGER}",
    )
    machine.fail("osmoda ledger verify")
    machine.succeed("systemctl start osmoda.service")
    demand_one_copy_each(AGENTS)
    demand_whole_ledger()
    first = entries()[0]
    assert first["kind"] == "LogReset", first
    damaged = machine.execute(f"osmoda ledger verify {first['body']['movedTo']}")
    assert damaged[0] == 1 and "FAILED" in damaged[1], damaged
    kill_and_wait("worker")

with subtest("once removed, nothing is left: no unit, no process, no cgroup"):
    machine.succeed("deploy removed >&2")
    machine.wait_until_fails("grep -lsz '^OSMODA_AGENT=' /proc/[0-9]*/environ")
    assert machine.succeed("systemctl list-units --all --plain --no-legend 'osmoda*'") == ""
    assert machine.succeed("find /sys/fs/cgroup -name '*osmoda*'") == ""
    assert machine.succeed("ps -e -o comm=").splitlines().count("osmoda") == 0
    assert machine.succeed("systemctl list-units --failed --plain --no-legend") == ""
