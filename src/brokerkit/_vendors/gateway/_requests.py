"""Requests of clients: the gateway handles subscriptions; the user's functions answer the others."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from pydantic import BaseModel

from brokerkit import _clock
from brokerkit._errors import ConfigError, DecodeError
from brokerkit._logging import get_logger
from brokerkit._vendors.gateway._check import Player
from brokerkit._vendors.gateway._clients import Client
from brokerkit._vendors.gateway._settings import GatewaySettings
from brokerkit._vendors.gateway._stats import GatewayStats
from brokerkit._vendors.thrillconnect import (
    FAMILY,
    OptInChoice,
    OptInChoiceV2,
    RaffleTicketQuestion,
    Subscription,
)

logger = get_logger(__name__)

Answer = Callable[[Any, Player], Any]

_SUBSCRIBE: Final = "SubscribeRequest"
_ANSWERS: Final = {
    "PlayerOptInRequest": ("Event", "OptInEvent"),
    "PlayerOptInRequestV2": ("Event", "OptInEvent"),
    "PlayerRaffleTicketsRequest": ("Message", "PlayerRaffleTicketResponse"),
}
"""Type and name of the message that answers a request."""
_LONGEST_NAME: Final = 256
"""Most characters of a name in a subscription: the name is kept as long as the client is connected."""
_ANSWERING: Final = "thrillpots"
_WITHIN: Final = 10.0
"""Seconds that a function has for an answer."""


class Refused(Exception):
    """The request gets an Error as its answer."""


class Requests:
    """Answers the requests of clients.

    Args:
        answers: functions by request; each takes the request's body and the player, and returns the ``data`` of the
            answer, or None for no answer.

    Raises:
        ConfigError: there is no such request.
    """

    def __init__(self, answers: Mapping[str, Answer], settings: GatewaySettings, stats: GatewayStats) -> None:
        if strange := [request for request in answers if request not in _ANSWERS]:
            raise ConfigError(f"answers: {strange[0]!r} is not a request; there are {', '.join(_ANSWERS)}")
        self._answers = answers
        self._settings = settings
        self._stats = stats

    def __repr__(self) -> str:
        return f"<Requests: {', '.join(self._answers) or 'only subscriptions'}>"

    async def answer(self, client: Client, frame: str | bytes) -> None:
        """Answer the request in a frame.

        Raises:
            ConnectionClosed: the client is gone.
        """
        self._stats.requests += 1
        name, body = "", cast("Any", None)
        try:
            name, body = _parse(frame)
            data = await self._data(client, name, body)
        except Refused as error:
            self._stats.bad_requests += 1
            said: dict[str, Any] = {"request": name or None, "reason": str(error)}
            # It tells a client with several open requests which one is meant.
            if (instance := getattr(body, "instance_id", None)) is not None:
                said["instance_id"] = instance
            await self._send(client, "Error", self._settings.source, "RequestRefused", said)
            return
        if data is not None:
            kind, answer = _ANSWERS[name]
            await self._send(client, kind, _ANSWERING, answer, data)

    async def _data(self, client: Client, name: str, body: Any) -> Any:
        if name == _SUBSCRIBE:
            events, most = cast("Subscription", body).events, self._settings.max_subscriptions
            if any(len(each.source) > _LONGEST_NAME or len(each.event_type) > _LONGEST_NAME for each in events):
                raise Refused(f"a source or event type of more than {_LONGEST_NAME} characters")
            if not client.subscribe(events, most=most):
                raise Refused(f"more than {most} subscriptions")
            return None
        _check_player(body, client.player)
        function = self._answers.get(name)
        if function is None:
            raise Refused("this gateway does not answer this request")
        try:
            async with asyncio.timeout(_WITHIN):
                data = function(body, client.player)
                data = await data if inspect.isawaitable(data) else data
            return _plain(data)
        except Exception as error:
            logger.error("%s cannot be answered: %s", name, type(error).__name__, exc_info=error)
            raise Refused("the request cannot be answered now; try again later") from None

    async def _send(self, client: Client, kind: str, source: str, name: str, data: Any) -> None:
        player = client.player
        envelope = {
            "msg_type": kind,
            "source": source,
            "msg_name": name,
            "operator_id": player.operator_id,
            "brand_id": player.brand_id,
            "player_id": player.player_id,
            "data": data,
            "timestamp": int(_clock.wall_time() * 1000),
        }
        await client.connection.send(json.dumps(envelope, ensure_ascii=False))


def _parse(frame: str | bytes) -> tuple[str, Any]:
    """Return the name and body of a request.

    Raises:
        Refused: the frame is not a request.
    """
    if not isinstance(frame, str):
        raise Refused("a request is a text frame")
    try:
        asked: Any = json.loads(frame)
    except (ValueError, RecursionError):
        raise Refused("it is not JSON") from None
    if not isinstance(asked, dict) or len(cast("dict[str, Any]", asked)) != 1:
        raise Refused("a request is one object whose only key is the request's name")
    [name] = cast("dict[str, Any]", asked)
    if name != _SUBSCRIBE and name not in _ANSWERS:
        raise Refused("there is no such request")
    try:
        return name, FAMILY.read(name, cast("dict[str, Any]", asked)).request
    except DecodeError as error:
        raise Refused(str(error)) from None


def _check_player(body: OptInChoice | OptInChoiceV2 | RaffleTicketQuestion, player: Player) -> None:
    """Refuse a request about somebody else.

    Raises:
        Refused: the request is about a player, operator or brand other than the token's.
    """
    if isinstance(body, OptInChoiceV2):
        said = (body.operator_id, body.player.brand_id, body.player.id)
    else:
        operator, _, brand = body.brand_id.partition(":")
        said = (operator, brand, body.player_id)
    if said != (player.operator_id, player.brand_id, player.player_id):
        raise Refused("it names another player, operator or brand than the token")


def _plain(data: Any) -> Any:
    """Return the ``data`` of an answer as a JSON value.

    Raises:
        TypeError: it is neither a model nor a mapping.
    """
    if data is None:
        return None
    if isinstance(data, BaseModel):
        return data.model_dump(mode="json", by_alias=True, exclude_unset=True)
    if isinstance(data, Mapping):
        return dict(cast("Mapping[str, Any]", data))
    raise TypeError(f"an answer is a model or a mapping, not a {type(data).__name__}")
