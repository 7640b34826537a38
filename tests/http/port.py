"""A real port for the tests of HTTP."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import httpx
from starlette.applications import Starlette

from brokerkit._http._server import answering, listener


class Port:
    """A real port that answers, and a client for it."""

    def __init__(self) -> None:
        self.client = httpx.AsyncClient()
        self.name = ""
        self._stack = AsyncExitStack()

    async def open(self, app: Starlette) -> None:
        listening = listener("127.0.0.1:0", token=False)
        self.name = f"127.0.0.1:{listening.getsockname()[1]}"
        await self._stack.enter_async_context(answering(app, listening))
        self.client = await self._stack.enter_async_context(
            httpx.AsyncClient(base_url=f"http://{self.name}", timeout=60, trust_env=False)
        )

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.client.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    async def post(self, path: str, **headers: str) -> httpx.Response:
        return await self.client.post(path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    async def order(self, path: str, **given: Any) -> httpx.Response:
        return await self.client.post(path, json=given)

    async def close(self) -> None:
        await self._stack.aclose()
