"""The commands and what they have in common: exit codes and errors of one line.

A command's module is imported when the command is called, so ``brokerkit --help`` stays fast.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Final

from cyclopts import App, CycloptsError, Parameter

from brokerkit._errors import BrokerkitError
from brokerkit._version import __version__
from brokerkit.cli._output import UsageError

OK: Final = 0
FAILED: Final = 1
WRONG_USE: Final = 2
INTERRUPTED: Final = 130
"""128 and the number of SIGINT, as shells have it."""

app: Final = App(
    name="brokerkit",
    help="One publish/subscribe interface over Kafka, RabbitMQ, SQS and Redis, with typed handlers for each event name.\n\n"
    "Exit codes: 0, or 1 for an error of brokerkit, or 2 for a wrong call.",
    version=__version__,
    help_format="markdown",
    result_action="return_value",
    print_error=False,
    exit_on_error=False,
)
app.command(
    "brokerkit.cli.demo:demo",
    name="demo",
    help="See brokerkit work: a poker room's events, handled in ten seconds; no broker needed. "
    "Fails unless every message is accounted for.",
)
app.command("brokerkit.cli.run:run", name="run", help="Run a bus of your own until SIGTERM or SIGINT, then drain.")
app.command(
    "brokerkit.cli.gateway:gateway",
    name="gateway",
    help="Push events of any broker to browsers, over ThrillConnect's WebSocket API.",
)
app.command("brokerkit.cli.publish:publish", name="publish", help="Publish one event, checked against its model.")
app.command("brokerkit.cli.record:record", name="record", help="Record the messages of a topic into a file.")
app.command("brokerkit.cli.replay:replay", name="replay", help="Publish the messages of a recording, unchanged.")
app.command("brokerkit.cli.simulate:app", name="simulate", help="Publish plausible events without their producer.")
app.command(
    "brokerkit.cli.inspect:inspect_messages",
    name="inspect",
    help="Look at the messages of a topic, and propose the configuration that reads them.",
)
app.command("brokerkit.cli.tail:tail", name="tail", help="Follow a topic, a line for each message.")
app.command("brokerkit.cli.bridge:bridge", name="bridge", help="Hand on one broker's messages to another.")
app.command("brokerkit.cli.dlq:app", name="dlq", help="Look at dead letters, replay and purge them.")
app.command("brokerkit.cli.asyncapi:asyncapi", name="asyncapi", help="Describe a bus as an AsyncAPI 3.0 document.")
app.command("brokerkit.cli.catalog:app", name="catalog", help="Look up the events that brokerkit knows.")


@app.meta.default
def _launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    traceback: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Start a command.

    Args:
        tokens: the command and its arguments.
        traceback: show where an error comes from.
    """
    try:
        return app(tokens) or OK
    except KeyboardInterrupt:
        return INTERRUPTED
    except (CycloptsError, UsageError) as error:
        return _fail(error, WRONG_USE, traceback=traceback)
    except BrokerkitError as error:
        return _fail(error, FAILED, traceback=traceback)


def run(arguments: Sequence[str]) -> int:
    """Run one command line; return its exit code: 0, 1 for an error of brokerkit, 2 for wrong use.

    Args:
        arguments: what follows ``brokerkit``.
    """
    try:
        return app.meta(arguments) or OK
    except CycloptsError as error:
        return _fail(error, WRONG_USE, traceback=False)


def _fail(error: Exception, code: int, *, traceback: bool) -> int:
    if traceback:
        sys.excepthook(type(error), error, error.__traceback__)
    else:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
    return code
