"""Writing events: a value that does not fit its field is refused."""

from __future__ import annotations

import json
import warnings
from typing import Any

import pytest
from pydantic import field_serializer

from brokerkit import InvalidMessage
from brokerkit.events import _strict
from brokerkit.events.evenbet import FAMILY, OnGameDone


@pytest.mark.parametrize("action", ["ignore", "error", "always", "default", "once"])
def test_a_value_that_does_not_fit_is_refused_whatever_the_program_does_with_warnings(action: Any) -> None:
    wrong, right = OnGameDone(ante=1), OnGameDone(ante=1)
    wrong.ante = "many"  # type: ignore[assignment]
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter(action)
        for _ in range(3):  # Python shows some warnings only once
            with pytest.raises(InvalidMessage, match="ante"):
                FAMILY.write(wrong)
            assert json.loads(FAMILY.write(right)) == {"ante": 1}
    assert not seen


def test_a_value_that_does_not_fit_is_refused_by_a_python_that_keeps_warnings_in_another_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    event = OnGameDone(ante=1)
    event.ante = "many"  # type: ignore[assignment]
    monkeypatch.setattr(_strict, "_WARNINGS", "error")
    monkeypatch.setattr(_strict, "__warningregistry__", {})
    with pytest.raises(InvalidMessage, match="ante"):
        FAMILY.write(event)


def test_a_serializer_of_an_event_may_warn() -> None:
    class Warns(OnGameDone):
        @field_serializer("ante")
        def warn(self, ante: int | None) -> int | None:
            warnings.warn("ante is old", DeprecationWarning, stacklevel=2)
            return ante

    with pytest.warns(DeprecationWarning, match="ante is old"):
        assert json.loads(FAMILY.write(Warns(ante=1))) == {"ante": 1}
