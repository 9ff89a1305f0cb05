# Every way in which one agent fails, alone and while osmoda itself is killed: found, named for what
# it is, mended, verified, and nobody else is disturbed. A bad deploy goes back alone. An agent
# may look, and nothing else.
#
# The machine has the agents of agents.nix, and `deploy NAME`, which deploys one of its deployments.

BYSTANDERS = ["steady", "secretive", "inmate"]


def demand_healed(name, before, since, reasons):
    """A failure with one of these reasons was mended by a new process, and that verified.

    Gives the failure's body.
    """
    failure = agent_entry(name, "FailureDetected", since)
    assert failure["body"]["reason"] in reasons, failure
    agent_entry(name, "HealthVerified", failure["seq"])
    machine.succeed(f"osmoda wait {name} --for Ready --timeout 2m")
    pid = status(name)["pid"]
    assert pid not in (None, before[name]), f"{name} is still {pid}"
    machine.fail(f"test -e /proc/{before[name]} && kill -0 {before[name]}")
    assert copies(name) == [str(pid)], f"{name} is {pid} and there are {copies(name)}"
    return failure["body"]


def fail_all(before):
    """Has each agent that can fail do so, each in its own way."""
    machine.succeed(
        "echo 503 >/run/answers/live",
        f"kill -SEGV {before['crashing']}",
        f"kill -STOP {before['beating']}",
        f"kill -USR1 {before['spinning']}",
        f"kill -USR1 {before['greedy']}",
    )


def end_of(failure):
    """How the process ended that failed."""
    return json.dumps(failure.get("exit"))


start_all()

with subtest("every agent is ready"):
    machine.wait_for_unit("osmoda.service")
    machine.succeed("osmoda wait --for Ready --timeout 3m")

with subtest("from inside an agent nothing can be changed, and no secret be read"):
    machine.wait_until_succeeds("osmoda logs inmate | grep -q 'all tried'", timeout=120)
    said = dict(
        line.split(": ")[-2:] for line in machine.succeed("osmoda logs inmate").splitlines() if ": " in line
    )
    for verb in ["restart", "pause", "ledger", "file", "secret", "variables"]:
        assert said[verb] not in ("done", "127"), said
    assert status("steady")["restarts"] == 0 and status("steady")["phase"] == "Running"

with subtest("all fail at once, each in its own way"):
    before, since = pids(), size()
    fail_all(before)

with subtest("a crash is told with its signal"):
    crash = demand_healed("crashing", before, since, ["Crashed"])
    assert '"signal": 11' in end_of(crash), crash

with subtest("a failing endpoint is told with its answer"):
    agent_entry("serving", "FailureDetected", since)
    machine.succeed("rm /run/answers/live")
    ill = demand_healed("serving", before, since, ["Unhealthy"])
    assert "503" in ill["facts"]["probe"]["answer"], ill

with subtest("a hang is told by its silence, with what the agent was doing"):
    hang = demand_healed("beating", before, since, ["Hang"])
    assert hang["facts"]["status"] == "asks_the_model", hang
    assert hang["facts"]["heartbeat"]["silentUs"] >= 6_000_000, hang

with subtest("an OOM kill is told from every other SIGKILL"):
    hunger = demand_healed("greedy", before, since, ["OomKilled"])
    assert '"oomKilled": true' in end_of(hunger), hunger
    again, killed = pids(), size()
    machine.succeed(f"kill -KILL {again['greedy']}")
    murder = demand_healed("greedy", again, killed, ["Crashed"])
    assert '"signal": 9' in end_of(murder) and '"oomKilled": false' in end_of(murder), murder

with subtest("a runaway is told by its use of the CPU over the window"):
    spin = demand_healed("spinning", before, since, ["CpuRunaway"])
    assert spin["facts"]["cpu"]["windowMs"] == 4000, spin

with subtest("nobody else was disturbed"):
    now = pids()
    assert all(now[name] == before[name] for name in BYSTANDERS), f"{before} {now}"

with subtest("all fail at once while osmoda is killed, and all are healed"):
    before, since = pids(), size()
    fail_all(before)
    kill_osmoda()
    agent_entry("serving", "FailureDetected", since)
    machine.succeed("rm /run/answers/live")
    # Of a process that is not its child, or that ended unseen, the daemon knows less.
    unseen = ["ExitUnknown", "Vanished"]
    demand_healed("crashing", before, since, ["Crashed", *unseen])
    demand_healed("greedy", before, since, ["OomKilled", "Crashed", *unseen])
    demand_healed("serving", before, since, ["Unhealthy"])
    demand_healed("beating", before, since, ["Hang"])
    demand_healed("spinning", before, since, ["CpuRunaway"])
    now = pids()
    assert all(now[name] == before[name] for name in BYSTANDERS), f"{before} {now}"

with subtest("a spec is edited: the agent is switched, and the new one proven"):
    before, since = pids(), size()
    machine.succeed("deploy second")
    good = agent_entry("deployed", "GenerationGood", since)["body"]["generation"]
    assert status("deployed")["generation"]["active"]["number"] == good["number"]
    machine.wait_until_succeeds("osmoda logs deployed | grep -q second", timeout=60)
    machine.succeed("osmoda status --diff")

with subtest("a bad deploy goes back alone"):
    since = size()
    machine.succeed("deploy bad")
    bad = agent_entry("deployed", "GenerationBad", since)
    back = agent_entry("deployed", "RollbackSucceeded", bad["seq"])
    assert back["body"]["to"] == good, back
    agent_entry("deployed", "HealthVerified", back["seq"])
    differences = machine.execute("osmoda status --diff")
    assert differences[0] == 1 and "Bad" in differences[1], differences

with subtest("a bad deploy goes back also when osmoda is killed on the way"):
    since = size()
    machine.succeed("deploy worse")
    machine.succeed("osmoda wait deployed --for Ready --timeout 2m")
    agent_entry("deployed", "GenerationActivated", since, lambda body: body["generation"] != good)
    machine.succeed("touch /run/answers/worse")
    kill_osmoda()
    back = agent_entry("deployed", "RollbackSucceeded", since)
    assert back["body"]["to"] == good, back
    agent_entry("deployed", "HealthVerified", back["seq"])
    # One that was intended and not begun is intended anew.
    assert count("RollbackSucceeded") == 2

with subtest("nobody else was disturbed, nobody runs twice, and the ledger verifies"):
    now = pids()
    others = [name for name in now if name != "deployed"]
    assert all(now[name] == before[name] for name in others), f"{before} {now}"
    demand_one_copy_each(now)
    verdict = demand_whole_ledger()
    assert verdict["openIntents"] in (0, []), verdict
    machine.fail("grep -c hunter-two /var/lib/osmoda/ledger.db")
