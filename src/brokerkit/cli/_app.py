"""The commands, with their exit codes and one-line errors.

The module of a command is imported when the command is called, so ``brokerkit --help`` stays fast.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Final

from cyclopts import App, CycloptsError, Parameter

from brokerkit._errors import BrokerkitError
from brokerkit._version import __version__
from brokerkit.cli._output import UsageError, say_aside, say_traceback

OK: Final = 0
FAILED: Final = 1
WRONG_USE: Final = 2
INTERRUPTED: Final = 130
"""128 plus the number of SIGINT, as in shells."""

_COMPLETION: Final = "--install-completion"
"""It writes to the user's home."""

_KEYWORD: Final = re.compile(r"^keyword: (?P<table>bus|sources\.from|targets\.to)(?:\.|: )(?P<name>[a-z_]+): ")

app: Final = App(
    name="brokerkit",
    help="One publish/subscribe interface over Kafka, RabbitMQ, SQS and Redis, with typed handlers for each event name.\n\n"
    "Exit codes: 0 for success, 1 for an error, 2 for a wrong call.",
    version=__version__,
    help_format="markdown",
    result_action="return_value",
    print_error=False,
    exit_on_error=False,
)
app.register_install_completion_command(  # pyright: ignore[reportUnknownMemberType]
    _COMPLETION, help="Make your shell complete commands with the Tab key."
)
app.command(
    "brokerkit.cli.demo:demo",
    name="demo",
    help="Watch brokerkit handle a poker room's events for ten seconds, without a broker. "
    "Fails unless every message is accounted for.",
)
app.command("brokerkit.cli.run:run", name="run", help="Run your bus until SIGTERM or SIGINT, then drain.")
app.command(
    "brokerkit.cli.gateway:gateway",
    name="gateway",
    help="Push events from any broker to browsers, over ThrillConnect's WebSocket API.",
)
app.command("brokerkit.cli.publish:publish", name="publish", help="Check one event against its model, and publish it.")
app.command("brokerkit.cli.record:record", name="record", help="Record the messages of a topic into a file.")
app.command("brokerkit.cli.replay:replay", name="replay", help="Publish the messages of a recording, unchanged.")
app.command("brokerkit.cli.simulate:app", name="simulate", help="Publish realistic events without the vendor's system.")
app.command(
    "brokerkit.cli.inspect:inspect_messages",
    name="inspect",
    help="Browse a topic, and propose the configuration that reads it.",
)
app.command("brokerkit.cli.tail:tail", name="tail", help="Follow a topic, one line for each message.")
app.command("brokerkit.cli.lag:lag", name="lag", help="Show how many messages wait for each source of a bus.")
app.command("brokerkit.cli.ctl:ctl", name="ctl", help="Show, pause and resume the sources of a running bus.")
app.command("brokerkit.cli.seek:seek", name="seek", help="Move a group to another position of its topics.")
app.command("brokerkit.cli.bridge:bridge", name="bridge", help="Forward messages from one broker to another.")
app.command("brokerkit.cli.dlq:app", name="dlq", help="Browse, replay and purge dead letters.")
app.command("brokerkit.cli.asyncapi:asyncapi", name="asyncapi", help="Write a bus as an AsyncAPI 3.0 document.")
app.command("brokerkit.cli.catalog:app", name="catalog", help="Look up the events that brokerkit knows.")


@app.meta.default
def _launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    modules: Annotated[tuple[str, ...], Parameter(name="--import", negative="")] = (),
    traceback: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Run a command.

    Args:
        tokens: the command and its arguments.
        modules: a module to import first, such as one that registers your own events; may be repeated. Modules of the
            current folder are found.
        traceback: show the traceback of an error.
    """
    try:
        if modules:
            from brokerkit.cli._target import import_here

            for module in modules:
                import_here(module)
        return app(tokens) or OK
    except KeyboardInterrupt:
        return INTERRUPTED
    except (CycloptsError, UsageError) as error:
        return _fail(error, WRONG_USE, traceback=traceback)
    except BrokerkitError as error:
        return _fail(error, FAILED, traceback=traceback)
    except OSError as error:
        if tokens[:1] != (_COMPLETION,):
            raise
        text = f"{error.filename} cannot be written: {error.strerror}; HOME chooses another place"
        return _fail(BrokerkitError(text), FAILED, traceback=traceback)


def run(arguments: Sequence[str]) -> int:
    """Run one command line; return its exit code: 0, or 1 for an error, or 2 for a wrong call.

    Args:
        arguments: what follows ``brokerkit``.
    """
    try:
        return app.meta(arguments) or OK
    except CycloptsError as error:
        return _fail(error, WRONG_USE, traceback=False)


def _fail(error: Exception, code: int, *, traceback: bool) -> int:
    if traceback:
        say_traceback(type(error), error, error.__traceback__)
    else:
        say_aside(f"error: {_KEYWORD.sub(_option, ' '.join(str(error).split()))}")
    return code


def _option(keyword: re.Match[str]) -> str:
    """Return the option that a keyword of a bus comes from: commands pass their options to a bus as keywords."""
    table, name = keyword["table"], keyword["name"]
    if name == "url":
        return {"sources.from": "--from", "targets.to": "--to"}.get(table, "the URL") + ": "
    return f"--{name.replace('_', '-')}: "
