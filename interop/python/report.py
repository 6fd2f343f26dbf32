"""What a suite prints: one JSON object per line, see record.go."""

import json
import sys
import threading
import time

from throttlekit import (
    Decision,
    OperationNotSupportedError,
    PolicyNotFoundError,
    ServiceUnavailableError,
    ThrottleKitError,
)

_lock = threading.Lock()


def emit(line):
    """Print one line. Safe for concurrent use."""
    text = json.dumps(line)
    with _lock:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


class Interrupted(Exception):
    """The cluster did not answer, or a node made its answer up."""


def decision(d):
    """The form of a Decision in a line."""
    return {"allowed": d.allowed, "limit": d.limit, "remaining": d.remaining, "reset": d.reset_at, "retry": d.retry_after_ms}


def failure(err):
    """The form of an exception in a line: the code that the client's class for it stands for."""
    text = str(err)
    classes = {PolicyNotFoundError: "NOT_FOUND", OperationNotSupportedError: "UNIMPLEMENTED", ServiceUnavailableError: "UNAVAILABLE"}
    code = classes.get(type(err))
    if code is None and type(err) is ThrottleKitError:  # the base class: "CODE: text"
        code, _, text = text.partition(": ")
    return {"code": code or type(err).__name__, "text": text}


def real(d):
    """Return a Decision that the cluster made, else raise Interrupted."""
    if isinstance(d, Decision) and d.reset_at == 0:
        raise Interrupted("a denial that nobody decided")
    return d


class Watch:
    """Measures calls, and remembers when the cluster was last in trouble."""

    SLOW = 0.5  # seconds; a call that takes longer met a failover

    def __init__(self):
        self.trouble = float("-inf")

    def notice(self):
        self.trouble = time.monotonic()

    def calm_since(self, instant):
        """Whether nothing was amiss from some reading of time.monotonic() on."""
        return self.trouble < instant

    async def call(self, line, ask):
        """Emit a line for one call. ask returns what the line has as its reply."""
        wall, begin = time.time_ns() // 1_000_000, time.monotonic_ns()
        try:
            line["reply"] = await ask()
        except Exception as err:  # the judge decides which errors are right
            line["error"] = failure(err)
        line["begin"], line["end"] = begin, time.monotonic_ns()
        line["wall"] = [wall, time.time_ns() // 1_000_000]
        lost = line.get("error", {}).get("code") == "UNAVAILABLE"
        made_up = "decision" in line.get("reply", {}) and line["reply"]["decision"]["reset"] == 0
        if lost or made_up or line["end"] - begin > self.SLOW * 1e9:
            self.notice()
        emit({"call": line})
        return line.get("reply")
