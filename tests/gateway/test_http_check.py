"""A check of tokens over HTTP, against a real server."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from tests import every_broker
from tests.gateway.scene import body, client, closed, event, gateway, receive, url
from websockets.asyncio.client import connect

from brokerkit import Bus

GOOD = {"operator_id": "northlight", "brand_id": "lumen", "player_id": 7}


class Endpoint(ThreadingHTTPServer):
    """Answers with the status that the token names; a token that is none gets the answer of this name."""

    daemon_threads = True
    answers: dict[str, Any]
    questions: list[tuple[str | None, dict[str, Any]]]


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, Endpoint)
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server.questions.append((self.headers["Authorization"], question))
        token = question["token"]
        if token == "slow":
            time.sleep(1.5)
        status = int(token) if token.isdecimal() else 200
        content = server.answers.get(token, {})
        if token == "good-until":
            content = {**content, "expires_at": time.time() + 1}
        answer = json.dumps(content).encode()
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/good")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    server = Endpoint(("127.0.0.1", 0), _Handler)
    server.questions = []
    server.answers = {
        "good": GOOD,
        "good-until": GOOD,
        "good-iso": {**GOOD, "expires_at": "2999-01-01T00:00:00Z"},
        "old": {**GOOD, "expires_at": "2020-01-01T00:00:00Z"},
        "half": {"player_id": "7"},
        "other": {**GOOD, "brand_id": "other"},
    }
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def bus() -> Bus:
    return every_broker.memory().bus(group="gateway", broadcast=True, format="thrillconnect")


def settings(endpoint: Endpoint) -> dict[str, Any]:
    return {"check": f"http://127.0.0.1:{endpoint.server_port}/tokens", "check_headers": {"Authorization": "ours"}}


@pytest.mark.parametrize("token", ["good", "good-iso"])
async def test_a_token_that_the_endpoint_knows_is_let_in(token: str, bus: Bus, endpoint: Endpoint) -> None:
    async with bus, gateway(bus, **settings(endpoint)) as served, client(served, token) as one:
        await bus.publish(sent := event("7"))
        assert await receive(one) == body(sent)
    [(authorization, question)] = endpoint.questions
    assert authorization == "ours"
    assert question == {
        "token": token,
        "operator_id": "northlight",
        "brand_id": "lumen",
        "currency": "EUR",
        "address": "127.0.0.1",
    }


async def test_it_is_closed_when_the_endpoint_said_that_it_would_run_out(bus: Bus, endpoint: Endpoint) -> None:
    async with bus, gateway(bus, **settings(endpoint)) as served:
        assert await closed(await connect(url(served, "good-until"))) == (4401, "the token has expired")


@pytest.mark.parametrize(
    ("token", "code"),
    [("401", 4401), ("404", 4401), ("old", 4401), ("403", 4403), ("other", 4403)]
    + [(token, 1013) for token in ("500", "302", "204", "half", "slow")],
)
async def test_other_answers_close_with_their_code(
    token: str, code: int, bus: Bus, endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "brokerkit")
    async with bus, gateway(bus, check_timeout=0.5 if token == "slow" else 10.0, **settings(endpoint)) as served:
        assert (await closed(await connect(url(served, token))))[0] == code
        ours = [record for record in caplog.records if record.name.startswith("brokerkit")]
        errors = [record for record in ours if record.levelno >= logging.ERROR]
        assert len(errors) == (code == 1013)


async def test_an_endpoint_that_is_away_closes_with_1013(bus: Bus) -> None:
    async with bus, gateway(bus, check="http://127.0.0.1:1/tokens") as served:
        assert (await closed(await connect(url(served, "good"))))[0] == 1013
