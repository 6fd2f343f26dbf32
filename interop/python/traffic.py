"""Runs the table of calls, and the lanes of shared traffic."""

import asyncio
import time
import traceback

import throttlekit
from report import Interrupted, decision, real

PATIENCE = 20  # seconds for one call, more than any may take
LAG = 1200  # ms by which the cluster's clock may be behind


class Runner:
    """One client's traffic. stop is set when the suite is to end."""

    def __init__(self, job, door, watch, stop):
        self.job, self.door, self.watch, self.stop = job, door, watch, stop

    def key(self, case, number, step, name):
        if step.get("bare"):
            return name
        return f"{self.job['client']} {self.job['mode']} {case['name']} {number} {name}"

    async def case(self, case, number):
        """Run one pass of a case. What comes of it is judged elsewhere."""
        replies = {}
        for step in case["steps"]:
            s = dict(step)
            s["key"] = self.key(case, number, step, step["key"])
            s["keys"] = [self.key(case, number, step, k) for k in step["keys"] or []]
            leases = [(replies.get(i) or {}).get("lease", "") for i in step["of"] or []]
            line = {"case": case["name"], "step": s["index"], "pass": number, "op": s["op"], "policy": s["policy"], "key": s["key"]}
            if s["op"] == "await":
                await self.wait(step["window"], [replies.get(i) for i in step["of"] or []])
                continue
            if s["op"] == "release":
                s["key"] = leases[0]
                if not s["key"]:
                    continue  # there was no slot to be had
            if s["op"] == "heartbeat":
                s["ids"] = [x for x in leases if x] + (s["ids"] or [])
            line["amount"] = s["wants"] if s["op"] == "reserve" else s["cost"]
            ask = getattr(self.door, s["op"])
            replies[s["index"]] = await self.watch.call(line, lambda: asyncio.wait_for(ask(s), PATIENCE))

    async def wait(self, window, replies):
        """Wait until a window begins or slots have ended, also by a clock that lags."""
        ends = [r["expires"] for r in replies if r]
        if window:
            ends.append((time.time_ns() // 1_000_000 // window + 1) * window)
        await asyncio.sleep(max(0, (max(ends, default=0) + LAG) / 1000 - time.time()))

    async def cases(self, passes):
        """Run the table this many times, or until stop if it is None."""
        number = 0
        while passes is None or number < passes:
            for case in self.job["cases"]:
                if self.stop.is_set() and passes is None:
                    return
                await self.case(case, number)
            number += 1

    async def lane(self, lane):
        """Send a lane's calls until stop, then without pauses until denied."""
        ask = getattr(self, lane["op"], None) or getattr(self.door, lane["op"])
        step = {"policy": lane["policy"], "key": lane["key"], "cost": lane["amount"], "wants": lane["amount"]}
        drained = None
        while True:
            if not self.stop.is_set():
                await asyncio.sleep(lane["every"] / 1000)
            else:
                drained = drained or time.monotonic() + 15
            line = {"lane": lane["name"], "op": lane["op"], "policy": lane["policy"], "key": lane["key"], "amount": lane["amount"]}
            reply = await self.watch.call(line, lambda: asyncio.wait_for(ask(step), PATIENCE))
            if lane["op"] == "hold" and reply and reply["lease"]:
                await asyncio.sleep(lane["hold"] / 1000)
                line = {"lane": lane["name"], "op": "release", "policy": lane["policy"], "key": reply["lease"]}
                await self.watch.call(line, lambda: asyncio.wait_for(self.door.release({"key": line["key"]}), PATIENCE))
            if drained and (lane["op"] == "hold" or denied(reply) or time.monotonic() > drained):
                return

    async def hold(self, s):
        return await self.door.admit(s)

    async def spend(self, s):
        """Spend one unit of what was reserved, which asks the cluster once per batch."""
        if not hasattr(self, "limiter"):
            self.limiter = self.door.fleet.leased(s["policy"], domain=s["key"], batch=s["cost"])
        return {"decision": decision(await self.door.run(self.limiter.check))}


def denied(reply):
    if not reply:
        return False
    if "reserved" in reply:
        return reply["reserved"]["capacity"] == 0
    return not reply["decision"]["allowed"] and reply["decision"]["reset"] != 0


async def feature(watch, emit, name, f, attempts, stop):
    """Run a check of the client's own features until it means something, or until stop.

    f gets a number that makes keys new. It raises Interrupted when the cluster did
    not answer, and AssertionError when something is wrong.
    """
    last = ""
    for number in range(attempts):
        if stop and stop.is_set():
            return
        begin = time.monotonic()
        try:
            await asyncio.wait_for(f(number), 3 * PATIENCE)
        except (Interrupted, throttlekit.ServiceUnavailableError) as err:
            watch.notice()
            last = repr(err)
        except Exception as err:
            last = "".join(traceback.format_exception(err)).strip()
            # What a slot or a swallowed error left behind may have disturbed it.
            if watch.calm_since(begin - 3):
                emit({"test": {"name": name, "ok": False, "detail": last}})
                return
        else:
            emit({"test": {"name": name, "ok": True}})
            return
        if attempts > 1:
            emit({"test": {"name": name, "interrupted": True, "detail": last}})
            await asyncio.sleep(0.5)
    emit({"test": {"name": name, "ok": False, "detail": f"after {attempts} attempts: {last}"}})


__all__ = ["Runner", "feature", "real"]
