# Agents as units of systemd: what each unit is, what a person who uses systemctl on one brings
# about, and that neither the daemon's stop nor a failing agent troubles anybody else.

RUNNING = ["steady", "limited", "obedient", "sandboxed", "free"]


def unit(name):
    """The unit of an agent."""
    return f"osmoda-{name}.service"


def property_of(name, wanted):
    """A property of an agent's unit."""
    return machine.get_unit_property(unit(name), wanted)


def said(name):
    """What an agent has written."""
    return machine.succeed(f"osmoda logs {name}")


start_all()

with subtest("each agent is a unit in the slice, and runs once"):
    machine.wait_for_unit("osmoda.service")
    demand_one_copy_each(RUNNING)
    for name in RUNNING:
        assert property_of(name, "Slice") == "osmoda.slice"
        assert property_of(name, "MainPID") == str(status(name)["pid"])
        assert property_of(name, "CollectMode") == "inactive-or-failed"
        # At shutdown the daemon goes first, so that no agent's end is taken for a crash.
        assert "osmoda.service" in property_of(name, "Before").split()

with subtest("limits are those that the kernel keeps, and drift is shown"):
    place = "/sys/fs/cgroup" + property_of("limited", "ControlGroup")
    assert machine.succeed(f"cat {place}/memory.max").strip() == str(64 << 20)
    assert machine.succeed(f"cat {place}/pids.max").strip() == "20"
    assert machine.succeed(f"cat {place}/cpu.max").split() == ["50000", "100000"]
    machine.succeed(f"systemctl set-property --runtime {unit('limited')} MemoryMax=32M")
    differences = machine.execute("osmoda status --diff -o json")[1]
    assert "resources.memory.max" in differences and str(32 << 20) in differences, differences
    machine.succeed("osmoda restart limited --wait", timeout=120)
    assert "resources.memory.max" not in machine.execute("osmoda status --diff -o json")[1]

with subtest("the sandbox closes what it should, and is off where it is off"):
    machine.wait_until_succeeds("osmoda logs sandboxed | grep -q home", timeout=60)
    lines = said("sandboxed")
    for wanted in ["NoNewPrivs:\t1", "etc is closed", "usr is closed", "tmp is its own", "home is"]:
        assert wanted in lines, lines
    assert "user 0\n" not in lines, lines
    assert "user 0\n" in said("free"), said("free")

with subtest("a person who stops or kills a unit is recorded, and healed or obeyed"):
    since, before = size(), pids()
    machine.succeed(f"systemctl stop {unit('steady')}")
    agent_entry("steady", "OutsideAction", since)
    machine.succeed("osmoda wait steady --for Ready --timeout 2m")
    assert status("steady")["pid"] != before["steady"]
    machine.succeed(f"systemctl kill --signal=KILL {unit('limited')}")
    agent_entry("limited", "OutsideAction", since)
    machine.succeed("osmoda wait limited --for Ready --timeout 2m")
    machine.succeed(f"systemctl stop {unit('obedient')}")
    agent_entry("obedient", "OutsideAction", since)
    retry(lambda _last: status("obedient")["pid"] is None, 60)
    demand_one_copy_each(["steady", "limited"])

with subtest("an agent that fails is no failed unit"):
    agent_entry("failing", "EscalationExhausted", 0)
    assert machine.succeed("systemctl list-units --failed --plain --no-legend") == ""

with subtest("agents outlive the daemon's stop, and are adopted"):
    before = pids()
    machine.succeed("systemctl stop osmoda.service")
    for name in ["steady", "limited", "sandboxed", "free"]:
        machine.require_unit_state(unit(name))
    machine.succeed("systemctl start osmoda.service")
    demand_one_copy_each(["steady", "limited", "sandboxed", "free"])
    now = pids()
    assert all(now[name] == before[name] for name in ["steady", "limited", "sandboxed", "free"])

with subtest("an agent that ended while nobody looked is found and healed"):
    since, before = size(), pids()
    machine.succeed(
        "systemctl stop osmoda.service",
        f"kill -SEGV {before['steady']}",
        "systemctl start osmoda.service",
    )
    agent_entry("steady", "FailureDetected", since)
    demand_one_copy_each(["steady"])
    demand_whole_ledger()
