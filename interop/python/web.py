"""The adapters for web frameworks, called as an HTTP client would call them."""

import asyncio
import contextlib
import socket

import flask
import httpx
import throttlekit
from fastapi import Depends, FastAPI
from report import Interrupted
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from throttlekit.contrib.fastapi import RateLimit
from throttlekit.contrib.flask import ThrottleKit
from throttlekit.contrib.starlette import ThrottleKitMiddleware


def client(app):
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://app")


def fastapi(backend, policy, **options):
    app = FastAPI()
    limit = RateLimit(throttlekit.bind_policy(backend, policy), key=lambda r: r.headers["x-key"], style="both", **options)

    @app.get("/", dependencies=[Depends(limit)])
    async def index():
        return {"hello": "world"}

    return app


class Web:
    """The adapters, and the lane of shared traffic that goes through one of them."""

    def __init__(self, job, target):
        self.job = job
        self.sync = throttlekit.ServiceBackend(target)
        self.aio = throttlekit.AsyncServiceBackend(target)
        self.shared = client(fastapi(self.aio, "shared-window", on_unavailable="deny"))

    async def close(self):
        await self.shared.aclose()
        await self.aio.aclose()
        self.sync.close()

    def key(self, name, number):
        return f"{self.job['client']}-{self.job['mode']}-{number}-{name}"

    def all(self):
        return {
            "FastAPI dependency": self.dependency,
            "Starlette middleware": self.middleware,
            "Flask extension": self.extension,
            "no server": self.outage,
        }

    async def drive(self, get, style_both):
        """Use a window of 5 up through get, and compare the responses."""
        for left in range(4, -1, -1):
            r = await get()
            undecided(r)
            assert r.status_code == 200, (r.status_code, r.text)
            assert r.headers["RateLimit-Limit"] == "5" and r.headers["RateLimit-Remaining"] == str(left), r.headers
            assert 0 <= int(r.headers["RateLimit-Reset"]) <= 3600, r.headers
            assert "Retry-After" not in r.headers
        r = await get()
        undecided(r)
        assert r.status_code == 429 and r.headers["RateLimit-Remaining"] == "0", (r.status_code, r.headers)
        assert 0 < int(r.headers["Retry-After"]) <= 3600, r.headers
        if style_both:
            assert int(r.headers["X-RateLimit-Reset"]) % 3600 == 0, r.headers
            assert r.json() == {"detail": "rate limit exceeded"}

    async def dependency(self, number):
        async with client(fastapi(self.aio, "window", on_unavailable="deny")) as http:
            await self.drive(lambda: http.get("/", headers={"x-key": self.key("fastapi", number)}), True)

    async def middleware(self, number):
        async def index(request):
            return JSONResponse({"hello": "world"})

        app = Starlette(routes=[Route("/", index)])
        key = self.key("starlette", number)
        app.add_middleware(
            ThrottleKitMiddleware,
            checker=throttlekit.bind_policy(self.sync, "window"),
            key=lambda scope: key,
            style="both",
            on_unavailable="deny",
        )
        async with client(app) as http:
            await self.drive(lambda: http.get("/"), True)

    async def extension(self, number):
        app = flask.Flask("interop")
        key = self.key("flask", number)
        limiter = ThrottleKit(app, checker=throttlekit.bind_policy(self.sync, "window"), key=lambda: key, style="both", on_unavailable="deny")

        @app.get("/")
        @limiter.limit()
        def index():
            return {"hello": "world"}

        http = app.test_client()
        await self.drive(lambda: asyncio.to_thread(http.get, "/"), False)

    async def outage(self, number):
        """Nobody listens: the adapters' own fail mode."""
        with contextlib.closing(socket.socket()) as s:  # bound, so nobody else can take it; not listening
            s.bind(("127.0.0.1", 0))
            async with throttlekit.AsyncServiceBackend(f"127.0.0.1:{s.getsockname()[1]}") as nobody:
                for mode, status in (("deny", 503), ("allow", 200)):
                    async with client(fastapi(nobody, "window", on_unavailable=mode)) as http:
                        r = await http.get("/", headers={"x-key": "k"})
                        assert r.status_code == status, (r.status_code, r.text)

    async def check(self, step):
        """A call of the lane: the decision as the headers tell it."""
        r = await self.shared.get("/", headers={"x-key": step["key"]})
        if r.status_code == 503:
            raise throttlekit.ServiceUnavailableError(r.text)
        assert r.status_code in (200, 429), (r.status_code, r.text)
        return {
            "decision": {
                "allowed": r.status_code == 200,
                "limit": int(r.headers["X-RateLimit-Limit"]),
                "remaining": int(r.headers["X-RateLimit-Remaining"]),
                "reset": int(r.headers["X-RateLimit-Reset"]) * 1000,
                "retry": int(r.headers.get("Retry-After", 0)) * 1000,
            }
        }


def undecided(r):
    """Raise Interrupted for a response that says that nobody could decide."""
    if r.status_code == 503 or r.headers.get("X-RateLimit-Reset") == "0":
        raise Interrupted(f"{r.status_code} {dict(r.headers)}")
