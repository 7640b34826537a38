"""The HTTP port of ``brokerkit run``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from brokerkit import Bus, ConfigError
from brokerkit._http._access import Token, check_token
from brokerkit._http._answers import Answers, Process
from brokerkit._http._app import application
from brokerkit._http._letters import Letters
from brokerkit._http._masking import Masking
from brokerkit._http._opening import Opening
from brokerkit._http._server import answering, answering_in_a_thread, listener


class Port:
    """A port that listens from here on.

    Args:
        address: HOST:PORT, or a port of the loopback address.
        token_file: a file with a token. It is read again for each request that needs it.
        control: whether sources can be paused over it.
        console: whether it has the console.
        mask: names of fields that the console hides.

    Raises:
        ConfigError: the address cannot be listened on, or the file holds no token.
    """

    def __init__(
        self, address: str, token_file: Path | None, *, control: bool, console: bool = False, mask: Sequence[str] = ()
    ) -> None:
        self._token_file = token_file
        self._control = control
        self._console = console
        self._mask = mask
        if token_file is not None:
            check_token(self._read(token_file), f"--http-token-file {token_file}")
        self._listener = listener(address, token=token_file is not None, control=control, console=console)

    def __repr__(self) -> str:
        return f"<Port {self._listener.getsockname()}>"

    async def serve(self, bus: Bus) -> None:
        """Serve a bus, and answer for it until it has drained.

        Raises:
            BrokerkitError: as `Bus.serve` does.
        """
        letters = self._letters(Opening(lambda: nullcontext(bus)))
        app = application(Process(bus), token=self._token, control=self._control, letters=letters)
        async with answering(app, self._listener):
            await bus.serve()

    def answering(self, answers: Answers, bus: Bus) -> AbstractContextManager[None]:
        """Answer while the block runs, in a thread.

        Args:
            answers: what it says of the workers.
            bus: is opened here for each walk through dead letters: a worker that does one would answer no probe.
        """
        app = application(
            answers, token=self._token, control=self._control, letters=self._letters(Opening(lambda: bus))
        )
        return answering_in_a_thread(app, self._listener)

    def _letters(self, opening: Opening) -> Letters | None:
        return Letters(opening, Masking(self._mask)) if self._console else None

    @property
    def _token(self) -> Token | None:
        file = self._token_file
        return None if file is None else lambda: self._read(file)

    @staticmethod
    def _read(file: Path) -> str:
        try:
            return file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"--http-token-file {file}: {error}") from error
