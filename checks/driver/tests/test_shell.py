"""The backdoor protocol, against scripted answers and against a real bash without a machine."""

import socket
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from shell import BackdoorShell, ProtocolError, ShellClosed, decode_output, parse_status


class ScriptedAnswers(unittest.TestCase):
    """The guest is a socket that this test writes to."""

    def setUp(self) -> None:
        ours, self.guest = socket.socketpair()
        self.shell = BackdoorShell(ours)
        self.addCleanup(self.shell.close)
        self.addCleanup(self.guest.close)

    def test_boot_messages_before_the_ready_line_are_passed_over(self) -> None:
        self.guest.sendall(b"noise\nSpawning backdoor root shell...\nZm9v\n0\n")
        self.shell.wait_until_ready()
        self.assertEqual(self.shell.run("anything"), (0, "foo"))

    def test_an_answer_may_come_in_pieces_and_with_the_next_one(self) -> None:
        self.guest.sendall(b"Zm")
        self.guest.sendall(b"9v\n4")
        self.guest.sendall(b"2\nYmFy\n1\n")
        self.assertEqual(self.shell.run("first"), (42, "foo"))
        self.assertEqual(self.shell.run("second"), (1, "bar"))

    def test_what_is_sent_is_one_line_a_command_and_one_for_the_status(self) -> None:
        self.guest.sendall(b"\n0\n")
        self.shell.run("echo 'a b'", timeout=5)
        sent = self.guest.recv(4096).decode()
        self.assertEqual(
            sent,
            "timeout 5 bash -c 'set -euo pipefail; echo '\"'\"'a b'\"'\"'' | (base64 -w 0; echo)\n"
            "echo ${PIPESTATUS[0]}\n",
        )

    def test_a_guest_that_goes_away_is_told_apart_from_an_empty_answer(self) -> None:
        self.guest.close()
        with self.assertRaises(ShellClosed):
            self.shell.run("anything")

    def test_a_guest_that_never_offers_its_shell_ends_the_wait(self) -> None:
        self.guest.sendall(b"Kernel panic\n")
        self.guest.close()
        with self.assertRaises(ShellClosed):
            self.shell.wait_until_ready()

    def test_a_command_that_takes_the_machine_down_gives_what_had_come(self) -> None:
        self.guest.sendall(b"Zm9vYm")
        self.guest.shutdown(socket.SHUT_WR)
        self.assertEqual(self.shell.run("reboot", check_return=False), (-1, "foo"))

    def test_noise_on_the_console_is_an_error_and_not_an_answer(self) -> None:
        with self.assertRaises(ProtocolError):
            decode_output(b"[  1.0] a kernel message")
        with self.assertRaises(ProtocolError):
            parse_status(b"")


class RealBash(unittest.TestCase):
    """The guest is a bash that reads commands from a socket, as the one in the machine does."""

    def setUp(self) -> None:
        ours, theirs = socket.socketpair()
        greeting = "echo 'Spawning backdoor root shell...'; exec bash --norc"
        bash = subprocess.Popen(
            ["bash", "-c", greeting], stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL
        )
        theirs.close()
        self.shell = BackdoorShell(ours)
        self.addCleanup(bash.wait)
        self.addCleanup(bash.kill)
        self.addCleanup(self.shell.close)
        self.shell.wait_until_ready()

    def test_status_and_output_come_back(self) -> None:
        self.assertEqual(self.shell.run("echo out; echo err >&2; exit 3"), (3, "out\n"))
        self.assertEqual(self.shell.run("true"), (0, ""))

    def test_an_error_in_the_middle_a_pipe_and_an_unset_name_fail(self) -> None:
        self.assertEqual(self.shell.run("false; echo no"), (1, ""))
        self.assertEqual(self.shell.run("false | true")[0], 1)
        self.assertEqual(self.shell.run("echo $never_set"), (1, ""))

    def test_quotes_newlines_and_dollars_arrive_as_written(self) -> None:
        text = "'single' \"double\" $5 `tick` \\ é\nsecond line"
        self.assertEqual(self.shell.run(f"cat <<'END'\n{text}\nEND"), (0, text + "\n"))

    def test_the_shell_itself_survives_what_a_command_does(self) -> None:
        self.shell.run("cd /; set +e; exit 9")
        self.assertEqual(self.shell.run("echo alive"), (0, "alive\n"))

    def test_a_timeout_gives_124_and_what_was_said_before(self) -> None:
        self.assertEqual(self.shell.run("echo begun; sleep 1000", timeout=1), (124, "begun\n"))

    def test_large_and_binary_output_arrives_whole(self) -> None:
        status, output = self.shell.run("head -c 1000000 /dev/zero | tr '\\0' y")
        self.assertEqual((status, output), (0, "y" * 1000000))
        self.assertEqual(self.shell.run("printf 'a\\376b'"), (0, "a\ufffdb"))


if __name__ == "__main__":
    unittest.main()
