"""ThrillConnect's requests as calls with their answers, over the connection that a source reads.

An answer carries no request id. It is matched by its name, and by instance and player if it names them. If several requests
match, the oldest gets the answer.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from brokerkit._vendors.thrillconnect import (
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
from brokerkit.adapters.api import BrokerkitError, Closed, ConnectionLost, DecodeError

ANSWER_WITHIN: Final = 10.0
"""Default seconds to wait for an answer."""

_ALL: Final = "*"


class RequestFailed(BrokerkitError):
    """A request got no answer, or an error. The server may still have done what was asked.

    Attributes:
        answer: the Error message, or None if nothing came.
    """

    def __init__(self, message: str, *, answer: AnyMessage | None = None) -> None:
        super().__init__(message)
        self.answer = answer


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """A request whose answer has not come.

    Attributes:
        answer: name of the message that answers it.
        fits: whether the ``data`` of such a message answers this request.
    """

    request: str
    answer: str
    player_id: str
    instance_id: str
    fits: Callable[[Mapping[str, Any]], bool]
    future: asyncio.Future[Any]

    def concerns(self, message: Mapping[str, Any]) -> bool:
        """Whether a message names the same player and instance, or names none."""
        data = message.get("data")
        instance_id: object = cast("dict[str, object]", data).get("instance_id") if isinstance(data, dict) else None
        return message.get("player_id") in (None, self.player_id) and instance_id in (None, self.instance_id)


class Client:
    """Sends a service's requests to ThrillConnect.

    `client_of` returns it; in a handler it is `Message.native`. Requests use the connection of the source, so they work
    while the bus consumes. Answers also reach the handlers, like every other message.

    Attributes:
        received: frames received.
        dropped: frames dropped because the handlers were too slow.
        gaps: how often the connection was lost; an unknown number of events was missed each time.
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
        """Whether there is a connection now."""
        return self._connection is not None

    # ---- requests --------------------------------------------------------------------------------------------

    async def subscribe(self, *interests: Interest) -> None:
        """Subscribe to more events than the source's topics, now and after each reconnect. No answer is documented.

        The request names all subscriptions so far, because it is not documented whether a second request adds to the
        first or replaces it.

        Raises:
            ConnectionLost: there is no connection; the next connection subscribes to these too.
            Closed: the bus does not consume.
        """
        self._extra += [interest for interest in interests if interest not in self._extra]
        await self._send(self._open_connection(), self._subscription())

    async def opt_in(self, choice: OptInChoice, *, timeout: float = ANSWER_WITHIN) -> OptInEvent:
        """Let a player join or leave a jackpot; return the event that says that the choice was accepted.

        Args:
            choice: the player, the jackpot, and whether to join or leave.
            timeout: seconds to wait for the answer.

        Raises:
            RequestFailed: no answer came in time, or an Error message came.
            ConnectionLost: there is no connection, or it broke; the server may have the request.
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
        """Let a player join or leave a jackpot, or all jackpots of a source; return when the request is sent.

        It is not documented which message answers: handlers of ``OptInEvent`` see what comes.

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
            question: the player and the raffle.
            timeout: seconds to wait for the answer.

        Raises:
            RequestFailed: no answer came in time, or an Error message came.
            ConnectionLost: there is no connection, or it broke.
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
            raise Closed(f"{self._where}: requests need the connection of a source, but the bus does not consume")
        raise ConnectionLost(f"{self._where}: there is no connection now; the source is reconnecting")

    def _subscription(self) -> SubscribeRequest:
        extra = [interest for interest in self._extra if interest not in self._interests]
        return SubscribeRequest(SubscribeRequest=Subscription(events=[*self._interests, *extra]))

    # ---- calls of the source ---------------------------------------------------------------------------------

    async def connected_by(self, connection: ClientConnection, topics: Iterable[str]) -> None:
        """Subscribe over a new connection, and send requests over it from now on.

        Raises:
            ConnectionClosed: the connection has ended already (an error of the client library).
        """
        self._interests = [interest_in(topic) for topic in topics]
        await connection.send(FAMILY.write(self._subscription()).decode())
        self._connection = connection

    def disconnected(self, *, for_good: bool = False) -> None:
        """Fail all requests that wait for an answer.

        Args:
            for_good: whether the source is closed, so that there will be no other connection.
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
        """Count a frame, and give it to the request that it answers, if any."""
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
            # An Error may concern anything. A request gets it only if no other request can be meant.
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
    """Return what a topic subscribes to: ``SOURCE/EVENT``, or ``SOURCE`` for all of its events."""
    source, _, event = topic.partition("/")
    return Interest(source=source, event_type=event or _ALL)
