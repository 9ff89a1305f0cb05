# Every method that the driver of the Debian machine offers, tried on a real one. What holds here
# holds on NixOS too: the scenarios beside this one rely on nothing else.

import pathlib
import tempfile


def raises(action, *words):
    """Demands that `action` raises an error that names all of these words."""
    try:
        action()
    except Exception as error:
        for word in words:
            assert word in str(error), f"{word!r} is not in {error!r}"
        return
    raise AssertionError("nothing was raised")


start_all()
machine.start()

with subtest("a boot ends in multi-user.target with no unit failed"):
    machine.wait_for_unit("multi-user.target")
    assert machine.succeed("systemctl list-units --failed --plain --no-legend") == ""

with subtest("execute gives output and exit status, bash's rules included"):
    assert machine.execute("echo one; echo two") == (0, "one\ntwo\n")
    assert machine.execute("exit 7") == (7, "")
    assert machine.execute("false; echo not reached") == (1, "")
    assert machine.execute("false | cat")[0] == 1
    assert machine.execute("echo $not_set")[0] != 0
    assert machine.execute("printf 'no newline'") == (0, "no newline")
    assert machine.execute("echo \"it's\" 'quo\"ted' \\$HOME") == (0, "it's quo\"ted $HOME\n")
    assert machine.execute("echo err >&2") == (0, "")
    assert machine.execute("head -c 300000 /dev/zero | tr '\\0' x")[1] == "x" * 300000
    assert machine.execute("printf '\\377'") == (0, "\ufffd")

with subtest("a timeout is kept by the guest and gives 124"):
    assert machine.execute("echo begun; sleep 1000", timeout=1) == (124, "begun\n")
    raises(lambda: machine.succeed("sleep 1000", timeout=1), "sleep 1000", "124")
    assert machine.execute("echo still here")[1] == "still here\n"

with subtest("unchecked commands do not disturb the next one"):
    assert machine.execute("echo shown; exit 3", check_return=False) == (-1, "shown\n")
    assert machine.execute("echo next") == (0, "next\n")

with subtest("succeed joins outputs and raises on failure, fail the other way round"):
    assert machine.succeed("echo a", "echo b") == "a\nb\n"
    raises(lambda: machine.succeed("true", "exit 5", "true"), "exit 5", "exit code 5")
    assert machine.fail("echo c; false") == "c\n"
    raises(lambda: machine.fail("true"), "unexpectedly succeeded")

with subtest("waiting for success and failure ends with either, or with the bound"):
    machine.succeed("rm -f /tmp/appears; (sleep 2; touch /tmp/appears) >/dev/null 2>&1 &")
    assert machine.wait_until_succeeds("test -e /tmp/appears && echo seen") == "seen\n"
    machine.succeed("(sleep 2; rm /tmp/appears) >/dev/null 2>&1 &")
    machine.wait_until_fails("test -e /tmp/appears")
    raises(lambda: machine.wait_until_succeeds("false", timeout=2), "2 seconds")
    raises(lambda: machine.wait_until_fails("true", timeout=2), "2 seconds")

with subtest("retry asks once more with True before it gives up"):
    asked = []
    raises(lambda: retry(lambda last: asked.append(last), 2))
    assert asked[0] is False and asked[-1] is True and asked.count(True) == 1

with subtest("a file is waited for"):
    machine.succeed("(sleep 1; touch /tmp/file-7) >/dev/null 2>&1 &")
    machine.wait_for_file("/tmp/file-*")
    raises(lambda: machine.wait_for_file("/tmp/never", timeout=1))

with subtest("a unit is waited for; one that failed or that nobody starts raises at once"):
    machine.succeed("systemd-run --no-block --unit=slow -p Type=oneshot -p RemainAfterExit=yes sleep 2")
    machine.wait_for_unit("slow.service")
    machine.succeed("systemd-run --no-block --unit=broken false")
    machine.wait_until_succeeds("systemctl is-failed broken.service")
    # The words show that it raised for what it saw, and not because its time was up.
    raises(lambda: machine.wait_for_unit("broken.service"), "broken.service", "failed")
    raises(lambda: machine.wait_for_unit("nobody.service"), "nobody.service", "inactive")

with subtest("systemctl, unit properties and required states"):
    assert machine.systemctl("is-active slow.service") == (0, "active\n")
    assert machine.systemctl("is-active broken.service")[0] != 0
    assert machine.get_unit_property("slow.service", "Type") == "oneshot"
    assert machine.get_unit_info("slow.service")["ActiveState"] == "active"
    machine.require_unit_state("broken.service", "failed")
    raises(lambda: machine.require_unit_state("broken.service"), "failed", "active")

with subtest("ports and Unix sockets are seen opening and closing"):
    machine.succeed("systemd-run --unit=port nc -l -k 127.0.0.1 4711")
    machine.wait_for_open_port(4711, "127.0.0.1")
    machine.stop_job("port.service")
    machine.wait_for_closed_port(4711, "127.0.0.1")
    raises(lambda: machine.wait_for_open_port(4711, "127.0.0.1", timeout=1))
    machine.succeed("systemd-run --unit=socket nc -l -k -U /run/selftest.sock")
    machine.wait_for_open_unix_socket("/run/selftest.sock")
    raises(lambda: machine.wait_for_open_unix_socket("/run/nobody.sock", timeout=1))

with subtest("files and directories come in and go out unharmed"):
    with tempfile.TemporaryDirectory() as host:
        tree = pathlib.Path(host, "tree")
        tree.mkdir()
        content = bytes(range(256)) * 9000
        (tree / "data").write_bytes(content)
        (tree / "tool").write_text("#!/bin/sh\necho tool runs\n")
        (tree / "tool").chmod(0o755)
        machine.copy_from_host(str(tree), "/root/in/side/tree")
        assert machine.succeed("/root/in/side/tree/tool") == "tool runs\n"
        assert machine.succeed("stat -c '%U %a' /root/in/side/tree/tool") == "root 755\n"
        # A shorter archive after a longer one: nothing of the old may shine through.
        machine.copy_from_host(str(tree / "tool"), "/root/tool")
        assert machine.succeed("/root/tool") == "tool runs\n"
        machine.copy_from_vm("/root/in/side/tree/data", "back")
        assert (machine.out_dir / "back" / "data").read_bytes() == content
        machine.copy_from_vm("/root/in/side/tree")
        assert (machine.out_dir / "tree" / "tool").read_text() == (tree / "tool").read_text()

with subtest("the guest has what osmoda is tried with"):
    assert machine.succeed("systemctl --version").startswith("systemd 257")
    controllers = machine.succeed("cat /sys/fs/cgroup/cgroup.controllers").split()
    assert {"cpu", "memory", "pids"} <= set(controllers), controllers
    assert " 2.26." in machine.succeed("nix --version")
    made = machine.succeed("nix-store --add /etc/hostname").strip()
    assert made.startswith("/nix/store/") and machine.succeed(f"cat {made}") == "machine\n"
    machine.succeed("python3 -c 'import json'")

with subtest("after a power cut the disk has what was flushed and not what was not"):
    boot = machine.succeed("cat /proc/sys/kernel/random/boot_id")
    machine.succeed("echo kept > /root/flushed; sync; echo lost > /root/unflushed")
    machine.crash()
    assert not machine.is_up()
    machine.start()
    machine.wait_for_unit("multi-user.target")
    assert machine.succeed("cat /proc/sys/kernel/random/boot_id") != boot
    assert machine.succeed("cat /root/flushed") == "kept\n"
    machine.fail("grep lost /root/unflushed")

with subtest("after a shutdown the disk has everything"):
    machine.succeed("echo kept > /root/unflushed")
    machine.shutdown()
    machine.start()
    assert machine.succeed("cat /root/unflushed") == "kept\n"

with subtest("a subtest that fails fails the scenario, and its name is told"):

    def failing():
        with subtest("this one fails on purpose"):
            machine.succeed("false")

    raises(failing, "false")
    log.info("seen")
