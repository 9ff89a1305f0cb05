# The power fails while osmoda writes: afterwards the ledger verifies, everything that osmoda had
# acknowledged is in it unchanged, and every agent is started once.
#
# The machine has the agents `one` and `two`, which are left alone; `mortal`, which is killed all
# the time; and `noted`, which is paused and resumed: each time an entry that osmoda acknowledges.

import shlex

POWER_CUTS = 2
STEADY = ["one", "two", "mortal"]


def parsed(text):
    """All JSON values of a text, whatever is between them."""
    decoder, values, place = json.JSONDecoder(), [], 0
    while (place := len(text) - len(text[place:].lstrip())) < len(text):
        value, place = decoder.raw_decode(text, place)
        values.append(value)
    return values


def acknowledge():
    """Has four entries written; gives what osmoda said of each: its seq."""
    answers = machine.succeed(
        "for round in 1 2; do"
        " osmoda pause noted --reason burst -o json; osmoda resume noted -o json;"
        " done"
    )
    return [answer["seq"] for answer in parsed(answers)]


def rows():
    """Each entry with its leaf and chain, as bytes, by seq; an export has a line around them."""
    return machine.succeed("osmoda ledger export --format jsonl").splitlines()[1:-1]


def entry_of(row):
    """The entry that a row holds."""
    return json.loads(row)["entry"]


def start_burst():
    """Lets an agent die as fast as it comes back, and operators act, until the power fails."""
    killing = (
        "while :; do for p in $(grep -lszx OSMODA_AGENT=mortal /proc/[0-9]*/environ"
        " | cut -d/ -f3); do kill -KILL $p; done; done"
    )
    machine.succeed(f"systemd-run --unit=killing bash -c {shlex.quote(killing)}")
    # Some of it is under way before the power fails.
    restarts = status("mortal")["restarts"]
    retry(lambda _last: status("mortal")["restarts"] >= restarts + 2, 120)


def demand_nothing_lost(written, acknowledged):
    """What was read before the power cut is there as it was, and what was acknowledged is there."""
    demand_whole_ledger()
    found = rows()
    assert found[: len(written)] == written, "the log's beginning has changed"
    assert max(acknowledged) < len(found), f"{max(acknowledged)} of {len(found)} is lost"
    for seq in acknowledged:
        entry = entry_of(found[seq])
        assert entry["seq"] == seq
        assert entry["kind"] in ("Paused", "Resumed", "OperatorCommand"), entry


def demand_single_starts(boot):
    """Since this boot each steady agent was started once, and runs once."""
    demand_one_copy_each(STEADY)
    for name in ["one", "two"]:
        starts = [
            entry
            for entry in map(entry_of, rows())
            if entry["boot"] == boot
            and entry.get("agent") == name
            and entry["kind"] == "ActionSucceeded"
            and entry["body"]["action"] == "Start"
        ]
        assert len(starts) == 1, starts


start_all()

with subtest("the machine and its agents run"):
    machine.wait_for_unit("osmoda.service")
    for name in STEADY:
        machine.succeed(f"osmoda wait {name} --for Ready --timeout 2m")

for number in range(1, POWER_CUTS + 1):
    with subtest(f"power cut {number} comes in the middle of writing"):
        acknowledged = acknowledge()
        start_burst()
        written = rows()
        # The last answer is hardly here when the power fails.
        acknowledged += acknowledge()
        machine.crash()

    with subtest(f"after power cut {number} the ledger is whole and agents are started once"):
        machine.start()
        machine.wait_for_unit("osmoda.service")
        boot = machine.succeed("cat /proc/sys/kernel/random/boot_id").strip()
        demand_nothing_lost(written, acknowledged)
        demand_single_starts(boot)
        # The power may have failed while it was paused, or while it was not.
        machine.execute("osmoda resume noted")
