"""One suite: python suite.py sync|async|web, with its job as the first line of standard input.

Without lanes it runs everything once. With lanes it goes on until standard input
ends, then uses the shared budgets up and ends.
"""

import asyncio
import importlib.metadata
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from report import Watch, emit
from traffic import Runner, feature


async def run(kind, job):
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(32))  # of the synchronous classes each call takes a thread
    stop = asyncio.Event()

    def wait():
        sys.stdin.read()
        loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=wait, daemon=True).start()
    watch = Watch()
    endless = bool(job["lanes"])

    if kind == "web":
        from web import Web

        versions = ", ".join(f"{p} {importlib.metadata.version(p)}" for p in ("fastapi", "starlette", "flask"))
        emit({"version": versions})
        door = features = Web(job, "ipv4:" + ",".join(job["targets"]))
    else:
        from door import Door
        from features import Features

        emit({"version": importlib.metadata.version("throttlekit-py")})
        door = Door(kind, job)
        features = Features(job, door)

    async def all_features():
        number = 0
        while True:
            for name, f in features.all().items():
                if endless and stop.is_set():
                    return
                await feature(watch, emit, name, lambda n, f=f, m=number: f(f"{m}.{n}"), 40 if endless else 3, stop if endless else None)
            number += 1
            if not endless:
                return

    runner = Runner(job, door, watch, stop)
    work = [all_features()] + [runner.lane(lane) for lane in job["lanes"]]
    if job["cases"]:
        work.append(runner.cases(None if endless else 2))
    await asyncio.gather(*work)
    await door.close()


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], json.loads(sys.stdin.readline())))
