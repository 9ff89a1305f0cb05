# The systemd runtime under the machine's own systemd, with controllers: its whole conformance
# suite with agents in the sandbox, and what may differ without one. (The whole suite without a
# sandbox runs in namespaces, as a test of the testkit.)

start_all()

machine.wait_for_unit("multi-user.target")

with subtest("no case is left out"):
    listed = machine.succeed("osmoda-conformance-systemd --list --ignored")
    cases = [line for line in listed.splitlines() if line.endswith(": test")]
    assert len(cases) >= 108, cases

for group in ["sandboxed::", "without_sandbox::the_"]:
    with subtest(f"the conformance suite passes: {group}"):
        machine.succeed(
            f"osmoda-conformance-systemd --ignored --test-threads=1 {group} >&2",
            timeout=900,
        )

with subtest("nothing of it is left"):
    machine.fail("systemctl list-units --all --no-legend 'osmoda-*.service' | grep .")
    machine.fail("grep -lsz '^OSMODA_AGENT=' /proc/[0-9]*/environ")
