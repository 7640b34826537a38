"""``brokerkit asyncapi``: a bus as an AsyncAPI document."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import yaml
from cyclopts import Parameter

from brokerkit import Bus
from brokerkit.cli._output import UsageError, say_document, writing
from brokerkit.cli._target import find_bus


def asyncapi(
    target: Annotated[str | None, Parameter(name="MODULE:BUS")] = None,
    /,
    *,
    config: Path | None = None,
    output: Path | None = None,
    format: Literal["yaml", "json"] | None = None,
    title: str = "brokerkit",
    release: str = "1.0.0",
) -> None:
    """Describe a bus as an AsyncAPI 3.0 document: its brokers, topics, and the events it receives and sends.

    Nothing connects, and the document holds no password.

    Args:
        target: the module that makes the bus and the bus's name in it, such as `wallet.events:bus`; with `--config` it
            may also be the name of a `Handlers`.
        config: make the bus from this file. Without MODULE:BUS there are no handlers, so only targets are described.
        output: the file to write; standard output by default.
        format: `yaml` or `json`; by default the ending of the output's name, else YAML.
        title: the name of the application.
        release: the version of the application's interface.
    """
    if target is not None:
        bus = find_bus(target, config)
    elif config is not None:
        bus = Bus.from_config(config)
    else:
        raise UsageError("no bus given: name MODULE:BUS, such as wallet.events:bus, or --config FILE")
    document = bus.asyncapi(title=title, version=release)
    if format == "json" or (format is None and output is not None and output.suffix == ".json"):
        text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    else:
        # The stubs leave the type of one parameter open.
        text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)  # pyright: ignore[reportUnknownMemberType]
    if output is None:
        say_document(text)
    else:
        with writing(output, instead="--output"):
            output.write_text(text, encoding="utf-8")
