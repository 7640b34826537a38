"""How Kafka clients log in, with passwords and tokens that change while they run.

A client with ``oauth_cb`` waits when it is made, up to ten seconds, until its token is there (confluent-kafka 2.16); a
password may come from a file or a service. So no client is made on the event loop.
"""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Callable
from time import monotonic
from typing import Any, Final, TypeAlias, TypeVar, cast

from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import AdminClient

from brokerkit.adapters.api import BrokerkitError, ConfigError, ConnectionLost, Reminder, describe, get_logger, guarded

logger = get_logger(__name__)

Client = TypeVar("Client")
OnError = Callable[[KafkaError], None]
OnToken: TypeAlias = "Callable[[str], object] | None"

OAUTH: Final = "oauth_cb"
_NOT_ACQUIRED: Final = "Failed to acquire SASL OAUTHBEARER"
"""The beginning of the client's error when the callback has failed. It asks again after ten seconds."""
_QUIET: Final = 60.0
_UNDER_WAY: Final = 10.0
"""Seconds after a new password in which a refusal may be that of a connection which was begun with the earlier one."""
_RENEWING: Final = "brokerkit_renewing"


class Login:
    """What all clients of one adapter log in with.

    Args:
        where: the broker, for errors.
        user: the user of the URL.
        password: returns the password that counts now; None if it never changes.
        callback: the user's ``oauth_cb``, or None.

    Attributes:
        changes: whether there is a password or a token that may change.

    Raises:
        ConfigError: the callback is not callable.
    """

    def __init__(self, where: str, user: str | None, password: Callable[[], str] | None, callback: OnToken) -> None:
        if callback is not None and not callable(callback):
            raise ConfigError(
                f"{where}: option {OAUTH!r} must be a function that returns a token and its time of expiry"
            )
        self._where = where
        self._user = user
        self._password = password
        self._callback = callback
        self._reminder = Reminder(quiet=_QUIET)
        self.changes = password is not None or callback is not None

    def __repr__(self) -> str:
        return f"<Login of {self._where}>"

    def make(self, kind: type[Client], config: dict[str, Any], **more: object) -> Client:
        """Make a client. It may wait for seconds: do not call it on the event loop.

        Raises:
            ConnectionLost: there is no token or password now.
            KafkaException: the client cannot be made.
        """
        if not self.changes:
            return cast("Client", cast("Any", kind)(config, **more))
        if self._callback is not None:
            # The client would wait ten seconds for what fails at once.
            first = self._first_token(str(config.get("sasl.oauthbearer.config", "")))
            config = {**config, OAUTH: _Tokens(self.token, first)}
        else:
            config = {**config, "sasl.password": self._read()}
        config["error_cb"] = renewing = _Renewing(self, config["error_cb"], config.get("sasl.password"))
        # The classes of the library admit no weak references, those made of them do.
        referable: Any = type(kind.__name__, (kind,), {})
        made = referable(config, **more)
        renewing.client = weakref.ref(made)
        setattr(made, _RENEWING, renewing)
        return cast("Client", made)

    def _first_token(self, config: str) -> object:
        try:
            return self.token(config)
        except Exception as error:
            failure = f"{type(error).__name__}: {describe(error)}"
            raise ConnectionLost(f"cannot log in to {self._where}: {OAUTH} failed: {failure}") from error

    def token(self, config: str) -> object:
        """Call the user's callback, and log what it raises: the client library drops the text."""
        assert self._callback is not None
        try:
            token = self._callback(config)
            parts = cast("tuple[object, ...]", token) if isinstance(token, tuple) else ()
            if not (len(parts) >= 2 and isinstance(parts[0], str) and isinstance(parts[1], (int, float))):
                raise TypeError("it must return a tuple of token and time of expiry (seconds since 1970)")
        except Exception as error:
            if self._reminder.due():
                logger.warning("%s of %s failed: %s: %s", OAUTH, self._where, type(error).__name__, describe(error))
            raise
        self._reminder.over()
        return parts

    def _read(self) -> str:
        assert self._password is not None
        return self._password()

    @property
    def has_password(self) -> bool:
        """Whether the password may change."""
        return self._password is not None

    def renew(self, used: object) -> str | None:
        """Return the password that counts now; None if that is the one that was used."""
        try:
            password = self._read()
        except BrokerkitError as problem:
            logger.warning("%s", problem)
            return None
        return None if password == used else password

    def give(self, client: object, password: str) -> None:
        """Give a client another password, for its next connection."""
        cast("Any", client).set_sasl_credentials(self._user, password)
        logger.info("%s refused a password; the client goes on with another one", self._where)

    def apply(self, consumer: object) -> None:
        """Give a consumer the password that was read anew, if there is one. Call it where the consumer is polled."""
        renewing = getattr(consumer, _RENEWING, None)
        if renewing is not None and renewing.pending is not None:
            password, renewing.pending = renewing.pending, None
            self.give(consumer, password)
            renewing.given_at = monotonic()

    def is_token_missing(self, error: KafkaError) -> bool:
        """Whether the callback has failed, which `token` has logged. A connection lives on with its old token."""
        return self._callback is not None and error.str().startswith(_NOT_ACQUIRED)


class _Tokens:
    """The callback of one client: it hands over the first token, and asks for the others."""

    def __init__(self, ask: Callable[[str], object], first: object) -> None:
        self._ask = ask
        self._first: object | None = first

    def __call__(self, config: str) -> object:
        first, self._first = self._first, None
        return self._ask(config) if first is None else first


class _Renewing:
    """The error callback of one client: a refused password is read again before anybody hears of it."""

    def __init__(self, login: Login, on_error: OnError, used: str | None) -> None:
        self._login = login
        self._on_error = on_error
        self._used = used
        self.client: Callable[[], object] | None = None
        self._busy = False
        self.pending: str | None = None
        self.given_at = -math.inf

    def __call__(self, error: KafkaError) -> None:
        if self._login.is_token_missing(error):
            return
        if error.code() != KafkaError._AUTHENTICATION or not self._login.has_password:  # pyright: ignore[reportPrivateUsage]
            self._on_error(error)
        elif not self._busy:
            # In a callback, set_sasl_credentials makes the next callback end the process (confluent-kafka 2.16).
            self._busy = True
            threading.Thread(
                target=guarded(self._renew, self._broken), args=(error,), name="brokerkit-kafka-login", daemon=True
            ).start()

    def _broken(self, error: BaseException) -> None:
        logger.error("a refused password could not be replaced: %s", describe(error))

    def _renew(self, error: KafkaError) -> None:
        try:
            if (password := self._login.renew(self._used)) is None:
                # A client has several connections. What the new password is good for shows in those that begin with it.
                if self.pending is None and monotonic() - self.given_at >= _UNDER_WAY:
                    self._on_error(error)
                return
            self._used = password
            client = self.client() if self.client is not None else None
            if isinstance(client, (Producer, AdminClient)):
                self._login.give(client, password)
                self.given_at = monotonic()
            else:
                # A consumer admits one thread: a call from another waits behind its poll, and the poll behind that.
                self.pending = password
        finally:
            self._busy = False
