"""A FastAPI service that publishes in a route and consumes for as long as it lives.

Run it: BROKERKIT_URL=redis://localhost:6379/0 uvicorn --app-dir examples/web_service app:app
"""

import os
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI, HTTPException, Response

from brokerkit import BrokerkitError, Bus
from brokerkit.events.evenbet import OnUserLoggedIn

bus = Bus(os.environ.get("BROKERKIT_URL", "memory://"), topic="logins", group="web", format="evenbet", provision="all")
logins: Counter[int] = Counter()


@bus.on("OnUserLoggedIn")
async def count(event: OnUserLoggedIn) -> None:
    """Count a login."""
    if event.player_id is not None:
        logins[event.player_id] += 1


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    """Connect before the first request, drain after the last."""
    # If an error ends the source, the service still answers: its probe says that it is not ready.
    async with bus, bus.serving(on_source_failure="log"):
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/players/{player_id}/logins", status_code=202)
async def log_in(player_id: int) -> dict[str, str]:
    """Answer when the broker has the event."""
    try:
        receipt = await bus.publish(OnUserLoggedIn(player_id=player_id), key=str(player_id))
    except BrokerkitError as error:
        raise HTTPException(503, str(error)) from error
    return {"id": receipt.id}


@app.get("/players/{player_id}/logins")
async def show(player_id: int) -> dict[str, int]:
    """Say how many logins were handled."""
    return {"logins": logins[player_id]}


@app.get("/ready")
async def ready(response: Response) -> dict[str, Any]:
    """Say whether this service may be given work: for the readiness probe of an orchestrator."""
    health = await bus.health()
    response.status_code = 200 if health.ready else 503
    return asdict(health)
