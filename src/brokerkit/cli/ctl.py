"""``brokerkit ctl``: show, pause and resume the sources of a running bus, over its HTTP port."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from cyclopts import Parameter

from brokerkit import ConfigError
from brokerkit.cli._output import Table, say_aside, say_json
from brokerkit.cli._remote import Remote, read_token

_FAILED: Final = 1
_NUMBERS: Final = ("in flight", "held", "limited", "lag", "rate")


def ctl(
    action: Literal["state", "pause", "resume"],
    source: str | None = None,
    /,
    *,
    http: str,
    token_file: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Show, pause and resume the sources of a running bus, over the port of `brokerkit run --http`.

    To pause and to resume, that needs `--control`. The exit code is 1 if the port refuses, or if a worker has not answered.

    Args:
        action: `state` shows the sources. `pause` hands nothing new to handlers until `resume`, and does not wait for what
            runs.
        source: name of the source; by default, all of them.
        http: URL of the port, such as `http://127.0.0.1:9000`, or its HOST:PORT, or the port on this machine.
        token_file: a file with the port's token.
        json: write the answer as JSON.
    """
    remote = Remote(http, None if token_file is None else read_token(token_file))
    state = remote.state() if action == "state" else remote.change(action, source)
    sources: dict[str, dict[str, Any]] = state["sources"]
    if source is not None:
        if source not in sources and sources:
            raise ConfigError(f"there is no source {source!r}; there are {', '.join(sources)}")
        sources = {name: each for name, each in sources.items() if name == source}
    if json:
        say_json({**state, "sources": sources})
    else:
        with Table("source", "state", "since", *_NUMBERS, "reason", right=_NUMBERS) as table:
            for name, each in sources.items():
                table.row(name, *_cells(each))
    silent = [worker for worker in state["workers"] if worker["pid"] is None]
    for worker in silent:
        say_aside(f"worker {worker['worker']}: {', '.join(worker['reasons'])}")
    return _FAILED if silent else 0


def _cells(source: Mapping[str, Any]) -> tuple[str, ...]:
    since = datetime.fromtimestamp(source["since"]).astimezone().isoformat(" ", "seconds")
    lag, rate = source["lag"], source["rate"]
    return (
        str(source["state"]),
        since,
        f"{source['in_flight']:,}",
        f"{source['held']:,}",
        f"{source['limited']:,}",
        "unknown" if lag is None else f"{lag:,}",
        "" if rate is None else f"{rate:,.1f}/s",
        str(source["error"]),
    )
