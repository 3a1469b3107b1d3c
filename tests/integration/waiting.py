"""The one place where the tests wait."""

import time


def wait_until(condition, timeout=20.0, what="", every=0.01):
    """Asks again until the condition is true, and returns what it returned."""
    deadline = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {timeout} s: {what or condition}")
        time.sleep(every)


def let_pass(seconds):
    """For tests whose subject is a moment or a length of time; never to wait for something."""
    time.sleep(seconds)
