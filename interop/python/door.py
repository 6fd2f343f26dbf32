"""The client library, with one face for its synchronous and its asyncio classes."""

import asyncio
import json

import grpc
import throttlekit
from report import decision

# The client has no classes for Monitor.Watch and RateLimiter.Heartbeat, which it
# uses itself, but the stubs it was generated with.
from throttlekit._grpc import map_rpc_error, pb, pb_grpc

AXES = {"": "rate", "token_budget": "token_budget", "concurrency": "concurrency"}


class Door:
    """Operations by their names in cases.json. Each returns the reply of a line."""

    def __init__(self, kind, job):
        self.sync = kind == "sync"
        self.target = "ipv4:" + ",".join(job["targets"])
        self.guarded = "ipv4:" + job["guarded"]
        self.secret = job["secret"]
        names = ("ServiceBackend", "FleetBackend", "MonitorBackend")
        self.Service, self.Fleet, self.Monitor = (getattr(throttlekit, ("" if self.sync else "Async") + n) for n in names)
        self.open = []
        self.service = self.own(self.Service(self.target))
        self.fleet = self.own(self.Fleet(self.target, secret=self.secret))
        self.monitor = self.own(self.Monitor(self.target, secret=self.secret))
        self.channel = (grpc if self.sync else grpc.aio).insecure_channel(self.target)
        self.held = {}  # admissions by lease id

    def own(self, backend):
        self.open.append(backend)
        return backend

    async def run(self, f, *args, **kwargs):
        """Call a function of the client: in a thread if it blocks."""
        if self.sync:
            return await asyncio.to_thread(f, *args, **kwargs)
        return await f(*args, **kwargs)

    async def close(self):
        for b in self.open:
            await self.run(b.aclose if hasattr(b, "aclose") else b.close)
        await self.run(self.channel.close)

    # Operations.

    async def check(self, s):
        return {"decision": decision(await self.run(self.service.check, s["policy"], s["key"], s["cost"]))}

    async def checkMany(self, s):
        return {"all": [decision(d) for d in await self.run(self.service.check_many, s["policy"], s["keys"], s["cost"])]}

    async def peek(self, s):
        return {"decision": decision(await self.run(self.service.peek, s["policy"], s["key"]))}

    async def forecast(self, s):
        f = await self.run(self.service.forecast, s["policy"], s["key"], s["cost"])
        return {"forecast": {"spendable": f.spendable_now, "next": f.next_replenish_at, "full": f.full_at}}

    async def debit(self, s):
        return {"decision": decision(await self.run(self.service.debit, s["policy"], s["key"], s["cost"]))}

    async def admit(self, s):
        adm = await self.run(self.service.admit, s["policy"], s["key"])
        assert adm.allowed == adm.decision.allowed and adm.held == (adm.lease_id != "") and not adm.policy_denied
        self.held[adm.lease_id] = adm
        return {"decision": decision(adm.decision), "lease": adm.lease_id, "expires": adm.lease_expires_at, "axis": adm.binding_axis}

    async def release(self, s):
        adm = self.held[s["key"]]
        if adm._released:  # the handle would not ask again, and the server must not mind
            await self.run(self.service._release_lease, adm.lease_id, s.get("dropped", False), heartbeat=False)
        else:
            await self.run(adm.release, dropped=s.get("dropped", False))
        return {}

    async def heartbeat(self, s):
        stub = pb_grpc.RateLimiterStub(self.channel)
        r = await self.mapped(stub.Heartbeat, pb.HeartbeatRequest(lease_ids=s["ids"]))
        return {"beat": {"live": list(r.live_ids), "reclaimed": list(r.reclaimed_ids), "deadline": r.next_deadline}}

    async def mapped(self, method, request):
        try:
            return await self.run(lambda: method(request))
        except grpc.RpcError as err:
            raise map_rpc_error(err) from err

    async def reserve(self, s):
        fleet = self.fleet
        if s.get("at"):
            fleet = self.own(self.Fleet(self.guarded, secret=self.shown(s)))
        lease = await self.run(fleet.reserve, s["policy"], domain=s["key"], wants=s["wants"], axis=AXES[s.get("axis", "")])
        return {
            "reserved": {
                "capacity": lease.capacity,
                "safe": lease.safe_capacity,
                "limit": lease.limit,
                "expiry": lease.expiry_ms,
                "refresh": lease.refresh_interval_ms,
                "retry": lease.retry_after_ms,
            }
        }

    def shown(self, s):
        return {"": None, "wrong": "wrong", "right": self.secret}[s["secret"]]

    async def snapshot(self, s):
        monitor = self.monitor
        if s.get("at"):
            monitor = self.own(self.Monitor(self.guarded, secret=self.shown(s)))
        snap = await self.run(monitor.get_snapshot)
        of = [p for p in snap.policies if p.name == s["policy"]]
        out = {"generated": snap.generated_at, "window": snap.window_ms, "mode": snap.mode, "raw": snap.parsed(), "policy": None}
        if of:
            p = of[0]
            out["policy"] = {"kind": p.kind, "strategy": p.strategy, "limit": p.limit, "allowed": p.allowed, "denied": p.denied}
            json.dumps(out["raw"])
        return {"snapshot": out}

    async def watch(self, s):
        stub = pb_grpc.MonitorStub(self.channel)
        self.stream = stub.Watch(pb.WatchRequest(policy=s["policy"]), metadata=(("x-monitor-secret", self.secret),), timeout=10)
        try:
            await self.run(self.stream.initial_metadata)  # from then on every denial is sent
        except grpc.RpcError as err:
            raise map_rpc_error(err) from err
        return {}

    async def next(self, s):
        """The next event of the stream about this key; passes before may have left others."""
        try:
            while True:
                if self.sync:
                    e = (await asyncio.to_thread(next, self.stream)).denial
                else:
                    e = (await self.stream.read()).denial
                if e.key == s["key"]:
                    self.stream.cancel()
                    return {
                        "event": {
                            "at": e.at,
                            "policy": e.policy,
                            "key": e.key,
                            "axis": e.axis,
                            "limit": e.limit,
                            "remaining": e.remaining,
                            "retry": e.retry_after_ms,
                        }
                    }
        except grpc.RpcError as err:
            raise map_rpc_error(err) from err
