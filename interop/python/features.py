"""What the client does beyond calls: context managers, heartbeats, decorators, headers, local spending."""

import asyncio
import contextlib
import math

import throttlekit
from report import Interrupted, real


class Features:
    """Checks by name. Each gets a number that makes its keys new."""

    def __init__(self, job, door):
        self.job, self.door = job, door
        self.held = f"held-{job['client']}"  # one slot

    def key(self, name, number):
        return f"{self.job['client']}-{self.job['mode']}-{number}-{name}"

    def all(self):
        return {
            "a slot is held for a block": self.block,
            "heartbeats keep a slot": self.heartbeats,
            "a slot without heartbeats is taken back": self.reclaimed,
            "decorator": self.decorator,
            "headers": self.headers,
            "a lease is spent locally": self.leased,
            "any node answers": self.any_node,
        }

    @contextlib.asynccontextmanager
    async def block_of(self, adm):
        """The handle's own block, of either kind."""
        if self.door.sync:
            with adm:
                yield adm
        else:
            async with adm:
                yield adm

    async def admit(self, service=None, **kwargs):
        adm = await self.door.run((service or self.door.service).admit, self.held, "k", **kwargs)
        real(adm.decision)
        return adm

    async def block(self, number):
        async with self.block_of(await self.admit()) as adm:
            assert adm.allowed and adm.held, adm.decision
            other = await self.admit()
            assert not other.allowed and not other.held and other.binding_axis == "concurrency", other.decision
            async with self.block_of(other):
                pass  # leaving it gives nothing back
            other = await self.admit()
            assert not other.allowed, other.decision
        with contextlib.suppress(ZeroDivisionError):
            async with self.block_of(await self.admit()) as adm:
                assert adm.allowed, adm.decision
                raise ZeroDivisionError
        again = await self.admit()
        assert again.allowed, again.decision
        await self.door.run(again.release)
        await self.door.run(again.release)
        again = await self.admit()
        assert again.allowed, again.decision
        await self.door.run(again.release, dropped=True)

    async def heartbeats(self, number):
        service = self.door.own(self.door.Service(self.door.target, heartbeat_interval=0.5))
        adm = await self.admit(service, heartbeat=True)
        assert adm.allowed, adm.decision
        await asyncio.sleep(3)  # a slot lasts 2 s without
        assert not adm.reclaimed
        other = await self.admit()
        assert not other.allowed, other.decision
        await self.door.run(adm.release)

    async def reclaimed(self, number):
        service = self.door.own(self.door.Service(self.door.target, heartbeat_interval=2.6))
        adm = await self.admit(service, heartbeat=True)
        assert adm.allowed, adm.decision
        await asyncio.sleep(3.2)
        assert adm.reclaimed
        other = await self.admit()
        assert other.allowed, other.decision
        await self.door.run(other.release)

    async def decorator(self, number):
        limit = throttlekit.rate_limit(throttlekit.bind_policy(self.door.service, "window"), key=lambda user: user, cost=2)
        if self.door.sync:
            handle = limit(lambda user: f"hello {user}")
        else:

            @limit
            async def handle(user):
                return f"hello {user}"

        user = self.key("decorated", number)
        for _ in range(2):
            assert await self.door.run(handle, user) == f"hello {user}"
        try:
            await self.door.run(handle, user)
        except throttlekit.RateLimited as err:
            d = real(err.decision)
            assert (d.allowed, d.limit, d.remaining) == (False, 5, 1), d
            assert 0 < err.retry_after_ms <= 3_600_000 and err.reset_at % 3_600_000 == 0, d
        else:
            raise AssertionError("the third call went through")

    async def headers(self, number):
        d = real(await self.door.run(self.door.service.check, "window", self.key("headers", number), 5))
        now = d.reset_at - 90_500
        assert throttlekit.decision_headers(d, "both", now_ms=now) == {
            "RateLimit-Limit": "5",
            "RateLimit-Remaining": "0",
            "RateLimit-Reset": "91",
            "X-RateLimit-Limit": "5",
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset": str(d.reset_at // 1000),
        }
        d = real(await self.door.run(self.door.service.check, "window", self.key("headers", number), 1))
        h = throttlekit.decision_headers(d)
        assert h["RateLimit-Remaining"] == "0" and h["Retry-After"] == str(math.ceil(d.retry_after_ms / 1000)), h

    async def leased(self, number):
        fleet, asked = self.door.fleet, []

        class Counted:
            """The same client, with the calls counted."""

            def reserve(self, *args, **kwargs):
                asked.append(kwargs["wants"])
                return fleet.reserve(*args, **kwargs)

        limiter = fleet.leased("fleet", domain=self.key("leased", number), batch=30)
        limiter._backend = Counted()
        got = [await self.door.run(limiter.check) for _ in range(101)]
        last = got.pop()
        assert all(d.allowed and d.limit == 100 for d in got)
        assert [d.remaining for d in got[:31]] == list(range(29, -1, -1)) + [29]
        assert [d.remaining for d in got[90:]] == list(range(9, -1, -1))
        assert not last.allowed and last.remaining == 0 and last.retry_after_ms > 0, last
        assert last.reset_at == got[0].reset_at and last.reset_at % 3_600_000 == 0, last
        assert asked == [30] * 5, asked

    async def any_node(self, number):
        key = self.key("any", number)
        left = []
        for target in self.job["targets"]:
            one = self.door.own(self.door.Service(target))
            left.append(real(await self.door.run(one.check, "window", key)).remaining)
        assert left == [4, 3, 2], left


__all__ = ["Features", "Interrupted"]
