"""How long retry looks, how often, and what it raises; no clock is involved."""

import sys
import unittest
from pathlib import Path
from typing import List

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from waiting import RETRY_INTERVAL_SECONDS, WaitTimedOut, retry


class Retry(unittest.TestCase):
    """retry on a clock that only its own pauses move."""

    def setUp(self) -> None:
        self.time = 0.0
        self.asked: List[bool] = []

    def wait_for(self, answers: List[bool], timeout: float) -> None:
        """Waits for a condition that gives these answers, then False for ever."""
        remaining = iter(answers)

        def condition(last: bool) -> bool:
            self.asked.append(last)
            return next(remaining, False)

        retry(condition, timeout, pause=self.pause, now=lambda: self.time)

    def pause(self, seconds: float) -> None:
        self.time += seconds

    def test_what_is_true_already_is_not_paused_for(self) -> None:
        self.wait_for([True], 10)
        self.assertEqual((self.asked, self.time), ([False], 0))

    def test_it_looks_once_an_interval_until_it_is_true(self) -> None:
        self.wait_for([False, False, True], 10)
        self.assertEqual(self.asked, [False, False, False])
        self.assertEqual(self.time, 2 * RETRY_INTERVAL_SECONDS)

    def test_the_last_look_is_announced_and_still_counts(self) -> None:
        self.wait_for([False, False, True], 2)
        self.assertEqual(self.asked, [False, False, True])

    def test_what_never_comes_true_ends_at_the_bound(self) -> None:
        with self.assertRaisesRegex(WaitTimedOut, "3 seconds"):
            self.wait_for([], 3)
        self.assertEqual(self.asked, [False, False, False, True])

    def test_an_error_ends_the_wait_at_once(self) -> None:
        def condition(_last: bool) -> bool:
            raise ValueError("broken")

        with self.assertRaisesRegex(ValueError, "broken"):
            retry(condition, 10, pause=self.pause, now=lambda: self.time)
        self.assertEqual(self.time, 0)


if __name__ == "__main__":
    unittest.main()
