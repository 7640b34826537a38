"""What the tests of the command line share."""

import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

PROGRAM = Path(sysconfig.get_path("scripts"), "brokerkit")


@dataclass(frozen=True, slots=True)
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str


Cli = Callable[..., Result]
Start = Callable[..., Popen[str]]
