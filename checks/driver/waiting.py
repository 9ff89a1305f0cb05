"""Waiting for a condition, the way NixOS tests do: look, pause, look again, until a bound."""

import time
from typing import Callable

RETRY_INTERVAL_SECONDS = 1
"""Pause between two looks. NixOS tests promise one second, so scripts may rely on it."""

DEFAULT_TIMEOUT_SECONDS = 900
"""How long a wait may take unless the script says otherwise."""


class WaitTimedOut(Exception):
    """A condition did not come true within its bound."""


def retry(
    condition: Callable[[bool], bool],
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    *,
    pause: Callable[[float], None] = time.sleep,
    now: Callable[[], float] = time.monotonic,
) -> None:
    """Returns once condition(False) is true.

    When the bound has passed it is asked one last time, with True, so that it can say what it
    sees; if it is still false then, WaitTimedOut is raised. Whatever it raises ends the wait.
    """
    start = now()
    while now() - start < timeout_seconds:
        if condition(False):
            return
        pause(RETRY_INTERVAL_SECONDS)
    if not condition(True):
        raise WaitTimedOut(f"not within {timeout_seconds} seconds")
