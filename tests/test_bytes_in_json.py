"""One spelling of bytes in JSON, for files of dead letters, recordings and the command line."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokerkit._dead_letters._lines import as_line
from brokerkit._messages._json import from_json, to_json
from brokerkit._messages._message import Message
from brokerkit._messages._outgoing import Outgoing
from brokerkit.recording._lines import message_line


@given(st.text() | st.binary())
def test_what_was_written_comes_back_and_bytes_of_text_as_text(raw: str | bytes) -> None:
    found = from_json(json.loads(json.dumps(to_json(raw))))
    assert found == raw or (isinstance(found, str) and found.encode() == raw)


@pytest.mark.parametrize("value", [None, 5, [], {}, {"base64": 5}, {"base64": "no base64!"}])
def test_what_is_never_written_is_refused(value: Any) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        from_json(value)


def test_dead_letters_and_recordings_spell_bytes_alike() -> None:
    letter = json.loads(
        as_line(Outgoing(topic="t", body=b"\xff", name="Moved", id="1", key=b"\xfe", headers={"raw": b"\xfd"}))
    )
    message = json.loads(message_line(Message("Moved", b"\xff", key=b"\xfe", headers={"raw": b"\xfd"}, id="1")))
    assert letter["body"] == message["body"] == {"base64": "/w=="}
    assert letter["key"] == message["key"] == {"base64": "/g=="}
    assert letter["headers"] == message["headers"] == {"raw": {"base64": "/Q=="}}
