# The limits of agents under the native runtime, where the kernel has the controllers for them:
# they are in force on the agent's whole process tree, and what goes beyond them is known by name.
# The runtime's conformance suite runs here too, in a cgroup that was handed over to it.


def limit(name, file):
    """A file of the cgroup that an agent's main process is in."""
    path = machine.succeed(f"cut -d: -f3 /proc/{status(name)['pid']}/cgroup").strip()
    return machine.succeed(f"cat /sys/fs/cgroup{path}/{file}").strip()


start_all()

with subtest("the conformance suite passes in a delegated cgroup"):
    machine.wait_for_unit("multi-user.target")
    machine.succeed(
        "systemd-run --wait --collect --unit=conformance -p Delegate=yes"
        " -p DelegateSubgroup=daemon"
        " $(command -v osmoda-conformance) --test-threads=2",
        timeout=300,
    )

with subtest("limits are written where the kernel reads them"):
    machine.wait_for_unit("osmoda.service")
    machine.succeed("osmoda wait modest --for Ready --timeout 2m")
    assert limit("modest", "memory.max") == str(64 << 20)
    assert limit("modest", "pids.max") == "20"
    quota, period = map(int, limit("modest", "cpu.max").split())
    assert quota * 2 == period, (quota, period)

with subtest("an agent beyond its memory is killed, called by name, and comes back"):
    retry(lambda _last: status("leaking")["restarts"] >= 2, 180)
    told = entries(name="leaking")
    exits = [entry["body"] for entry in told if entry["kind"] == "FailureDetected"]
    assert exits and all("oom" in json.dumps(body).lower() for body in exits), exits
    assert status("modest")["restarts"] == 0

with subtest("an agent that spins gets its share of the CPU and no more"):

    def is_throttled(_last):
        numbers = dict(line.split() for line in limit("spinning", "cpu.stat").splitlines())
        return int(numbers["nr_throttled"]) > 5

    retry(is_throttled, 120)

with subtest("an agent that forks without end stops at its number of tasks"):
    machine.wait_until_succeeds("test -e /tmp/forking-is-done", timeout=120)
    assert int(limit("forking", "pids.peak")) == 10
    assert "max 0" not in limit("forking", "pids.events")
    assert int(limit("forking", "pids.current")) <= 10

with subtest("stopping the service leaves no agent behind"):
    machine.succeed("systemctl stop osmoda.service")
    machine.fail("grep -lsz '^OSMODA_AGENT=' /proc/[0-9]*/environ")
