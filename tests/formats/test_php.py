"""PHP's serialized texts: Symfony's messages on Redis are read, and what is broken says so."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokerkit import DecodeError
from brokerkit.formats._php import decode


@given(st.binary())
def test_a_text_is_read_and_anything_else_is_left_alone_or_refused(data: bytes) -> None:
    assert decode(b's:%d:"%s";' % (len(data), data)) == data
    try:
        assert decode(data) == data
    except DecodeError:
        assert data.startswith(b"s:")


@pytest.mark.parametrize(
    "cut", [b's:5:"hell', b's:5:"hello', b's:4:"hello";', b's:6:"hello";', b's:5:"hello";s:1:"a";']
)
def test_a_text_of_another_length_is_refused(cut: bytes) -> None:
    with pytest.raises(DecodeError, match="another length"):
        decode(cut)


@pytest.mark.parametrize("other", [b"a:1:{i:0;i:1;}", b'O:3:"Foo":0:{}', {"a": 1}, "s:1:", None])
def test_other_types_are_left_alone(other: object) -> None:
    assert decode(other) == other
