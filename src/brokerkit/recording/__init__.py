"""Recordings: the messages of a topic in a file, and back onto a broker, unchanged.

`Recorder` writes one, `Recording` reads it, `Replay` publishes it again.
"""

from brokerkit.recording._record import Recorder
from brokerkit.recording._recording import Recorded, Recording
from brokerkit.recording._replay import Replay

__all__ = ["Recorded", "Recorder", "Recording", "Replay"]
