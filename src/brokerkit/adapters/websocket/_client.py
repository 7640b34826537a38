"""ThrillConnect's requests as calls with their answers, over the connection that a source reads.

An answer carries no request id, so it is found by its name, and by instance and player where it names them. Of requests
that are alike the oldest gets the answer.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from brokerkit._errors import BrokerkitError, Closed, ConnectionLost, DecodeError
from brokerkit.events.thrillconnect import (
    FAMILY,
    AnyMessage,
    Interest,
    OptInChoice,
    OptInChoiceV2,
    OptInEvent,
    PlayerOptInRequest,
    PlayerOptInRequestV2,
    PlayerRaffleTicketResponse,
    PlayerRaffleTicketsRequest,
    RaffleTicketQuestion,
    SubscribeRequest,
    Subscription,
)

ANSWER_WITHIN: Final = 10.0
"""Seconds to wait for an answer, where the caller says nothing."""

_ALL: Final = "*"


class RequestFailed(BrokerkitError):
    """A request got no answer, or an error instead. The server may have done what was asked all the same.

    Attributes:
        answer: the Error message that came, or None where nothing came.
    """

    def __init__(self, message: str, *, answer: AnyMessage | None = None) -> None:
        super().__init__(message)
        self.answer = answer


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """A request whose answer has not come.

    Attributes:
        answer: name of the message that answers.
        fits: whether the ``data`` of such a message is about this request.
    """

    request: str
    answer: str
    player_id: str
    instance_id: str
    fits: Callable[[Mapping[str, Any]], bool]
    future: asyncio.Future[Any]

    def concerns(self, message: Mapping[str, Any]) -> bool:
        """Whether a message is about the same player and instance, as far as it says."""
        data = message.get("data")
        instance_id: object = cast("dict[str, object]", data).get("instance_id") if isinstance(data, dict) else None
        return message.get("player_id") in (None, self.player_id) and instance_id in (None, self.instance_id)


class Client:
    """What a service may ask ThrillConnect, beside the events that its handlers get.

    Got by `client_of`, or in a handler as `Message.native`. Requests go over the connection of the source, so they work
    while the bus consumes. Answers reach the handlers too, like every other message.

    Attributes:
        received: frames that came.
        dropped: frames that were dropped because handlers were slower than they came.
        gaps: how often the connection was away, with an unknown number of events.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._connection: ClientConnection | None = None
        self._interests: list[Interest] = []
        self._extra: list[Interest] = []
        self._waiting: list[_Waiting] = []
        self.received = 0
        self.dropped = 0
        self.gaps = 0

    @property
    def connected(self) -> bool:
        """Whether there is a connection at the moment."""
        return self._connection is not None

    # ---- requests --------------------------------------------------------------------------------------------

    async def subscribe(self, *interests: Interest) -> None:
        """Ask for more events than the source's topics, now and after each reconnect. No answer is documented.

        The request that is sent names everything that is subscribed to so far: whether a second request adds to the
        first or replaces it is not documented.

        Raises:
            ConnectionLost: there is no connection; the next one subscribes to these too.
            Closed: the bus does not consume.
        """
        self._extra += [interest for interest in interests if interest not in self._extra]
        await self._send(self._open_connection(), self._subscription())

    async def opt_in(self, choice: OptInChoice, *, timeout: float = ANSWER_WITHIN) -> OptInEvent:
        """Let a player join or leave a jackpot; returns the event that says that it was accepted.

        Args:
            choice: who joins or leaves what.
            timeout: seconds to wait for the answer.

        Raises:
            RequestFailed: no answer came in time, or an Error message came.
            ConnectionLost: there is no connection, or it broke meanwhile; the server may have the request.
            Closed: the bus does not consume.
        """
        answer = await self._ask(
            PlayerOptInRequest(PlayerOptInRequest=choice),
            answer="OptInEvent",
            player_id=choice.player_id,
            instance_id=choice.instance_id,
            fits=lambda data: data.get("opted_in") in (None, choice.opt_in),
            timeout=timeout,
        )
        return cast("OptInEvent", answer)

    async def opt_in_v2(self, choice: OptInChoiceV2) -> None:
        """Let a player join or leave a jackpot or all jackpots of a source; returns when it was sent.

        Which message answers is not documented: handlers of ``OptInEvent`` see what comes.

        Raises:
            ConnectionLost: there is no connection, or it broke; the server may have the request.
            Closed: the bus does not consume.
        """
        await self._send(self._open_connection(), PlayerOptInRequestV2(PlayerOptInRequestV2=choice))

    async def raffle_tickets(
        self, question: RaffleTicketQuestion, *, timeout: float = ANSWER_WITHIN
    ) -> PlayerRaffleTicketResponse:
        """Ask how many raffle tickets a player has.

        Args:
            question: whose tickets of which raffle.
            timeout: seconds to wait for the answer.

        Raises:
            RequestFailed: no answer came in time, or an Error message came.
            ConnectionLost: there is no connection, or it broke meanwhile.
            Closed: the bus does not consume.
        """
        answer = await self._ask(
            PlayerRaffleTicketsRequest(PlayerRaffleTicketsRequest=question),
            answer="PlayerRaffleTicketResponse",
            player_id=question.player_id,
            instance_id=question.instance_id,
            fits=lambda _: True,
            timeout=timeout,
        )
        return cast("PlayerRaffleTicketResponse", answer)

    async def _ask(
        self,
        request: PlayerOptInRequest | PlayerRaffleTicketsRequest,
        *,
        answer: str,
        player_id: str,
        instance_id: str,
        fits: Callable[[Mapping[str, Any]], bool],
        timeout: float,
    ) -> Any:
        connection = self._open_connection()
        name = type(request).__name__
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        waiting = _Waiting(name, answer, player_id, instance_id, fits, future)
        self._waiting.append(waiting)
        try:
            async with asyncio.timeout(timeout):
                await self._send(connection, request)
                return await future
        except TimeoutError:
            raise RequestFailed(f"{self._where}: no answer to {name} within {timeout:g} s") from None
        finally:
            self._waiting.remove(waiting)

    async def _send(self, connection: ClientConnection, request: Any) -> None:
        try:
            await connection.send(FAMILY.write(request).decode())
        except ConnectionClosed as error:
            name = type(request).__name__
            raise ConnectionLost(f"{self._where}: the connection broke while {name} was sent") from error

    def _open_connection(self) -> ClientConnection:
        if self._connection is not None:
            return self._connection
        if not self._interests:
            raise Closed(f"{self._where}: requests go over the connection of a source, and the bus does not consume")
        raise ConnectionLost(f"{self._where}: there is no connection at the moment; the source is about to reconnect")

    def _subscription(self) -> SubscribeRequest:
        extra = [interest for interest in self._extra if interest not in self._interests]
        return SubscribeRequest(SubscribeRequest=Subscription(events=[*self._interests, *extra]))

    # ---- what the source says --------------------------------------------------------------------------------

    async def connected_by(self, connection: ClientConnection, topics: Iterable[str]) -> None:
        """Subscribe over a new connection, and send requests over it from now on.

        Raises:
            ConnectionClosed: the client library's own: it has ended already.
        """
        self._interests = [interest_in(topic) for topic in topics]
        await connection.send(FAMILY.write(self._subscription()).decode())
        self._connection = connection

    def disconnected(self, *, for_good: bool = False) -> None:
        """Fail what waits for an answer.

        Args:
            for_good: the source is closed: there will be no other connection.
        """
        self._connection = None
        if for_good:
            self._interests = []
        for waiting in self._waiting:
            if not waiting.future.done():
                name = waiting.request
                waiting.future.set_exception(
                    ConnectionLost(f"{self._where}: the connection ended before {name}'s answer")
                )

    def came(self, frame: bytes) -> None:
        """Count a frame, and give it to the request that it answers."""
        self.received += 1
        if not self._waiting:
            return
        try:
            message: Any = json.loads(frame)
        except (ValueError, RecursionError):
            return
        if isinstance(message, dict):
            self._answer(cast("dict[str, Any]", message), frame)

    def _answer(self, message: dict[str, Any], frame: bytes) -> None:
        concerned = [each for each in self._waiting if not each.future.done() and each.concerns(message)]
        if message.get("msg_type") == "Error":
            # It may be about anything: only where one request alone can be meant is it told.
            if len(concerned) == 1:
                concerned[0].future.set_exception(self._refusal(concerned[0], frame))
            return
        name, data = message.get("msg_name"), message.get("data")
        for waiting in concerned:
            if waiting.answer == name and isinstance(data, dict) and waiting.fits(cast("dict[str, Any]", data)):
                try:
                    waiting.future.set_result(FAMILY.reader(waiting.answer)(frame))
                except DecodeError as error:
                    waiting.future.set_exception(error)
                return

    def _refusal(self, waiting: _Waiting, frame: bytes) -> BrokerkitError:
        try:
            answer = AnyMessage.model_validate_json(frame)
        except ValueError:
            return RequestFailed(f"{self._where}: an Error message of unknown shape came after {waiting.request}")
        shown = f"{answer.msg_name} {json.dumps(answer.data)[:200]}"
        return RequestFailed(f"{self._where}: an Error message came after {waiting.request}: {shown}", answer=answer)

    def __repr__(self) -> str:
        state = "connected" if self.connected else "not connected"
        counts = f"{self.received} received, {self.dropped} dropped, {self.gaps} gaps"
        return f"<Client of {self._where}: {state}, {len(self._waiting)} requests wait, {counts}>"


def interest_in(topic: str) -> Interest:
    """What a topic asks for: ``SOURCE/EVENT``, or ``SOURCE`` for all of its events."""
    source, _, event = topic.partition("/")
    return Interest(source=source, event_type=event or _ALL)
