# Memory as the kernel accounts for it: a leaking tree is restarted before it is killed, cache is
# no leak, and a limit that somebody changed by hand shows. A fork bomb hurts nobody else.


def cgroup(name):
    """Directory of the cgroup that an agent's main process is in."""
    path = machine.succeed(f"cut -d: -f3 /proc/{status(name)['pid']}/cgroup").strip()
    return f"/sys/fs/cgroup{path}"


def bodies(name, kind):
    """Bodies of the entries of one kind about an agent."""
    return [entry["body"] for entry in entries(name=name) if entry["kind"] == kind]


def differences(name):
    """Fields of an agent that are not as desired."""
    _, out = machine.execute("osmoda status --diff -o json")
    agents = json.loads(out)["agents"]
    found = next(agent["differences"] for agent in agents if agent["name"] == name)
    return {item["path"]: (item["desired"], item["observed"]) for item in found}


start_all()

with subtest("every limit is in force"):
    machine.wait_for_unit("osmoda.service")
    machine.succeed("osmoda wait modest --for Ready --timeout 2m")
    assert status("modest")["notEnforced"] == [], status("modest")["notEnforced"]
    assert differences("modest") == {}

with subtest("a leak has its agent restarted gracefully, before the kernel kills it"):
    retry(lambda _last: len(bodies("growing", "HealthVerified")) >= 1, 180)
    failure = bodies("growing", "FailureDetected")[0]
    assert failure["reason"] == "MemoryHigh", failure
    memory = failure["facts"]["memory"]
    assert memory["thresholdBytes"] == 96 << 20
    assert 96 << 20 <= memory["trajectory"][-1]["memoryBytes"] < 512 << 20, memory
    stop = next(body for body in bodies("growing", "ActionSucceeded") if body["action"] == "Stop")
    assert not stop["killed"] and not stop["exit"]["oomKilled"], stop
    assert not any(body["reason"] == "OomKilled" for body in bodies("growing", "FailureDetected"))

with subtest("what was read from files is no memory of the agent"):
    retry(lambda _last: "I have read it" in machine.succeed("osmoda logs reading"), 180)
    place = cgroup("reading")
    assert int(machine.succeed(f"cat {place}/memory.current")) > 64 << 20
    used = status("reading")
    assert used["restarts"] == 0, used
    assert used["resources"]["memoryBytes"] < 64 << 20, used["resources"]

with subtest("a fork bomb stays within its tasks, and everybody else is served"):
    place = cgroup("bomb")
    retry(lambda _last: "max 0" not in machine.succeed(f"cat {place}/pids.events"), 120)
    assert int(machine.succeed(f"cat {place}/pids.peak")) <= 30
    assert status("modest")["ready"] and status("modest")["restarts"] == 0
    before = status("bomb")["pid"]
    machine.succeed("osmoda restart bomb --wait", timeout=120)
    assert status("bomb")["pid"] != before
    assert int(machine.succeed(f"cat {cgroup('bomb')}/pids.current")) <= 30

with subtest("a limit changed by hand is a difference, until the next start sets it"):
    machine.succeed(f"echo 33554432 >{cgroup('modest')}/memory.max")
    machine.succeed(f"echo max >{cgroup('modest')}/pids.max")
    expected = {
        "resources.memory.max": (str(64 << 20), str(32 << 20)),
        "resources.tasksMax": ("20", "none"),
    }
    assert differences("modest") == expected, differences("modest")
    shown = machine.execute("osmoda status --diff")
    assert shown[0] == 1 and "changed outside osmoda" in shown[1], shown
    machine.succeed("osmoda restart modest --wait", timeout=120)
    assert differences("modest") == {}, differences("modest")

with subtest("doctor finds the controllers at work"):
    report = json.loads(machine.execute("osmoda doctor --runtime native -o json")[1])
    cgroups = [item for item in report["findings"] if item["area"] == "cgroups"]
    assert all(item["level"] == "ok" for item in cgroups), cgroups
    assert any("memory, cpu, pids" in item["message"] for item in cgroups), cgroups
    assert any("a daemon is at work" in item["message"] for item in report["findings"])
