"""Recordings: the messages of a topic in a file, to be published again unchanged.

`Recorder` writes a recording, `Recording` reads it, `Replay` publishes it again.
"""

from brokerkit.recording._record import Recorder
from brokerkit.recording._recording import Recorded, Recording
from brokerkit.recording._replay import Replay

__all__ = ["Recorded", "Recorder", "Recording", "Replay"]
