"""A signature proves that a member of the group wrote the headers of a copy, for this message and no other."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokerkit import ConfigError
from brokerkit._config._loading import from_keywords
from brokerkit._messages._headers import Headers
from brokerkit._messages._retry_state import DONE, FAILURES, ORIGIN, SIGNATURE
from brokerkit._messages._signature import Signer

KEY = "a key that only the group has"
HEADERS: Headers = {"event": "Paid", ORIGIN: "id-1", DONE: '["a"]', FAILURES: "0", "bk-property-priority": "3"}


def signed(headers: Headers = HEADERS, body: bytes | None = b"body") -> Mapping[str, str | bytes]:
    return Signer([KEY], "wallet").signed(headers, body)


def test_what_was_signed_is_accepted_as_text_and_as_bytes() -> None:
    there = signed()
    assert Signer([KEY], "wallet").accepts(there, b"body")
    came = {name: value.encode() if isinstance(value, str) else value for name, value in there.items()}
    assert Signer([KEY], "wallet").accepts(came, b"body")


@pytest.mark.parametrize("changed", [*HEADERS, "another", "bk-due"])
def test_a_header_that_was_changed_removed_or_added_is_not_accepted(changed: str) -> None:
    there = signed()
    for tampered in ({**there, changed: "other"}, {name: value for name, value in there.items() if name != changed}):
        assert Signer([KEY], "wallet").accepts(tampered, b"body") is (tampered == there)


@pytest.mark.parametrize("body", [b"", b"Body", None])
def test_another_body_group_or_key_is_not_accepted(body: bytes | None) -> None:
    there = signed()
    assert not Signer([KEY], "wallet").accepts(there, body)
    assert not Signer([KEY], "bonus").accepts(there, b"body")
    assert not Signer([KEY.upper()], "wallet").accepts(there, b"body")
    assert not Signer([], "wallet").accepts(there, b"body")


@pytest.mark.parametrize("signature", ["", "é", "0" * 64, b"\xff"])
def test_what_is_no_signature_is_not_accepted(signature: str | bytes) -> None:
    assert not Signer([KEY], "wallet").accepts({**HEADERS, SIGNATURE: signature}, b"body")
    assert not Signer([KEY], "wallet").accepts(HEADERS, b"body")


def test_a_new_key_signs_and_the_old_one_is_still_accepted() -> None:
    new = "the key of next month"
    assert Signer([new, KEY], "wallet").accepts(signed(), b"body")
    again = Signer([new, KEY], "wallet").signed(HEADERS, b"body")
    assert not Signer([KEY], "wallet").accepts(again, b"body")


@given(st.dictionaries(st.text(min_size=1), st.text()), st.dictionaries(st.text(min_size=1), st.text()))
def test_no_two_sets_of_headers_have_one_signature(one: dict[str, str], other: dict[str, str]) -> None:
    def visible(headers: dict[str, str]) -> dict[str, str]:
        return {name: value for name, value in headers.items() if not name.startswith("bk-") and name != "content-type"}

    same = signed(one)[SIGNATURE] == signed(other)[SIGNATURE]
    assert same is (visible(one) == visible(other))


def test_a_short_key_is_refused_and_no_key_is_shown() -> None:
    with pytest.raises(ConfigError, match="signing_key has 9 characters; it needs at least 16") as refused:
        from_keywords({"url": "sqs:///", "topic": "t", "signing_key": "too-short"}, {})
    assert "too-short" not in str(refused.value)
    settings = from_keywords({"url": "sqs:///", "topic": "t"}, {"BROKERKIT_SIGNING_KEY": f"{KEY},{KEY}-2"})
    [source] = settings.sources.values()
    assert source.signing_keys == (KEY, f"{KEY}-2")
    assert KEY not in repr(settings)
