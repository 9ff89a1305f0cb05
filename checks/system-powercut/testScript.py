# The power fails during a switch, between each step and the next. After each boot the machine runs
# the old or the new system, and the ledger tells which and why.
#
# The machine is that of checks/system. In the Debian guest the next boot brings what the profile
# says; a NixOS test always boots the first system, which is an old one too.

HOLD = "/run/systemd/system/osmoda-switch-.service.d/hold.conf"


def fail(path):
    """Deploys a failing system and has it fail."""
    since = size()
    deploy_system(path)
    system_entry("OutsideAction", since)
    machine.succeed("touch /run/fail")
    return since


def hold_in_the_middle():
    """Makes the next switch stop in its middle, where /run/held is there, for as long as it is."""
    machine.succeed(
        "printf '%s\\n' 'PATH=$PATH:/run/current-system/sw/bin' 'touch /run/held'"
        " 'while [ -e /run/held ]; do sleep 0.2; done' >/run/middle"
    )


def cut_and_boot(*old_and_new):
    """Cuts the power; the machine comes back, with one of these systems. Gives which."""
    machine.crash()
    machine.start()
    machine.wait_for_unit("osmoda.service")
    runs = machine.succeed("readlink -f /run/booted-system").strip()
    assert runs in old_and_new, f"{runs} was booted, none of {old_and_new}"
    return runs


def demand_gone_back(since, intended):
    """The rollback that was intended came to its end, under whichever daemon; once."""
    done = system_entry("RollbackSucceeded", since)
    assert cause(done) == intended["seq"], done
    demand_proven(good, done["seq"])
    assert running_system() == next_system() == good
    intents = [entry for entry in entries(since) if entry["kind"] == "RollbackIntended"]
    assert len(intents) == 1, intents
    demand_one_copy_each(["steady"])
    demand_whole_ledger()
    return done["body"]


start_all()

with subtest("the first system is proven"):
    machine.wait_for_unit("osmoda.service")
    where = places()
    good = where["base"]
    demand_proven(good, 0)

with subtest("cut after the intent, before the lock: the switch is made after the boot"):
    failing = where["failing-1"]
    since = size()
    deploy_system(failing)
    system_entry("OutsideAction", since)
    machine.succeed(
        f"systemd-run --unit=holder flock {SWITCH_LOCK} sleep infinity",
        "touch /run/fail",
    )
    intended = system_entry("RollbackIntended", since)
    assert next_system() == failing
    cut_and_boot(good, failing)
    told = demand_gone_back(since, intended)
    assert told["code"] == 0, told

with subtest("cut after the profile was set, before the switch runs: the boot has done it"):
    failing = where["failing-2"]
    machine.succeed(
        f"mkdir -p $(dirname {HOLD})",
        f"printf '[Service]\\nExecStartPre=/bin/sh -c \"touch /run/held; sleep 1000\"\\n' >{HOLD}",
        "systemctl daemon-reload",
    )
    since = fail(failing)
    intended = system_entry("RollbackIntended", since)
    machine.wait_for_file("/run/held", timeout=120)
    assert next_system() == good and running_system() == failing
    assert cut_and_boot(good, failing) == good
    told = demand_gone_back(since, intended)
    assert told.get("code") is None and "interrupted" in told["note"], told

with subtest("cut in the middle of the switch: the boot has done it"):
    failing = where["failing-3"]
    since = size()
    deploy_system(failing)
    system_entry("OutsideAction", since)
    hold_in_the_middle()
    machine.succeed("touch /run/fail")
    intended = system_entry("RollbackIntended", since)
    machine.wait_for_file("/run/held", timeout=120)
    assert running_system() == failing
    assert cut_and_boot(good, failing) == good
    told = demand_gone_back(since, intended)
    assert "interrupted" in told["note"], told

with subtest("cut after the switch, before its outcome is on record"):
    failing = where["failing-4"]
    since = size()
    deploy_system(failing)
    system_entry("OutsideAction", since)
    hold_in_the_middle()
    machine.succeed("touch /run/fail")
    intended = system_entry("RollbackIntended", since)
    machine.wait_for_file("/run/held", timeout=120)
    machine.succeed("systemctl kill --signal=STOP --kill-whom=main osmoda.service", "rm /run/held")
    machine.wait_until_succeeds("grep -q . /var/lib/osmoda/switches/*/exit", timeout=120)
    assert running_system() == good
    assert cut_and_boot(good, failing) == good
    demand_gone_back(since, intended)

with subtest("cut after the outcome, before it was verified"):
    failing = where["failing-5"]
    since = fail(failing)
    intended = system_entry("RollbackIntended", since)
    done = system_entry("RollbackSucceeded", since)
    assert cut_and_boot(good, failing) == good
    demand_gone_back(since, intended)

with subtest("cut in the middle of a person's own switch: what was booted is judged"):
    since = size()
    hold_in_the_middle()
    machine.succeed(
        f"nix-env --profile {PROFILE} --set {where['second']}",
        f"systemd-run --unit=rebuild {where['second']}/bin/switch-to-configuration switch",
    )
    machine.wait_for_file("/run/held", timeout=120)
    runs = cut_and_boot(good, where["second"])
    if runs == where["second"]:
        seen = system_entry("OutsideAction", since)
        assert seen["body"]["to"]["storePath"] == runs, seen
        demand_proven(runs, seen["seq"])
        machine.succeed("osmoda wait extra --for Ready --timeout 2m")
    assert running_system() == runs
    assert count("RollbackIntended", since) == 0
    demand_whole_ledger()
