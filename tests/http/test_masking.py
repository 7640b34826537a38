"""What the console hides of a message, and what an edited body gets back."""

from __future__ import annotations

import json

import pytest

from brokerkit._errors import InvalidMessage
from brokerkit._http._masking import MASK, Masking

CARD = Masking(["card"])


@pytest.mark.parametrize(
    ("body", "shown", "hidden"),
    [
        ('{"card": "4111 1111", "amount": 0.10}', f'{{"card": "{MASK}", "amount": 0.10}}', "4111 1111"),
        ('{"a": [{"CARD": 41111111}], "b": 1E400}', f'{{"a": [{{"CARD": "{MASK}"}}], "b": 1E400}}', "41111111"),
        ('{"userPassword": {"now": "geheim"}}', f'{{"userPassword": "{MASK}"}}', "geheim"),
        (
            '{"n": 12345678901234567890, "api-key": "k"}',
            f'{{"n": 12345678901234567890, "api-key": "{MASK}"}}',
            "k",
        ),
        ('{"card": "one-1", "card": "two-2"}', f'{{"card": "{MASK}", "card": "{MASK}"}}', "two-2"),
    ],
)
def test_fields_are_hidden_at_every_depth_and_numbers_keep_their_digits(body: str, shown: str, hidden: str) -> None:
    found, values = CARD.body(body)
    assert found == shown
    assert hidden in values


def test_a_body_without_hidden_fields_is_shown_as_it_is() -> None:
    body = '{ "amount":0.10,\n "n": 1e2 }'
    assert CARD.body(body) == (body, ())
    assert CARD.restored('{"amount": 1}', body) == '{"amount": 1}'


@pytest.mark.parametrize("body", ["card=4111", "<card>4111</card>", "[" * 5_000, '{"card": ', "null"])
def test_what_is_not_json_is_shown_only_where_no_field_was_named(body: str) -> None:
    assert CARD.body(body) == (None, ())
    assert Masking().body(body) == (body, ())


def test_a_hidden_value_is_found_in_other_texts_and_so_is_a_password_of_a_url() -> None:
    _, hidden = CARD.body('{"card": "4111-1111"}')
    text = CARD.text("no money on '4111-1111' at amqp://ann:geheim@host/", hidden)
    assert text == f"no money on '{MASK}' at amqp://{MASK}@host/"


def test_an_edited_body_gets_its_hidden_values_back_in_their_places() -> None:
    before = '{"card": "4111", "rows": [{"card": 5, "amount": 1.10}, {"amount": 2}]}'
    shown, _ = CARD.body(before)
    assert shown is not None
    after = CARD.restored(shown.replace("1.10", "1.20"), before)
    assert after == '{"card": "4111", "rows": [{"card": 5, "amount": 1.20}, {"amount": 2}]}'
    assert json.loads(CARD.restored('{"card": "4222"}', before)) == {"card": "4222"}


@pytest.mark.parametrize(
    "edited", [f'{{"other": "{MASK}"}}', f'{{"rows": [{{"amount": 1}}, {{"card": "{MASK}"}}]}}', f'["{MASK}"]', "card"]
)
def test_a_mask_in_a_place_where_nothing_was_hidden_is_refused(edited: str) -> None:
    with pytest.raises(InvalidMessage):
        CARD.restored(edited, '{"card": "4111", "rows": [{"card": 5}, {"amount": 2}]}')


def test_a_lone_surrogate_is_written_so_that_it_can_be_encoded() -> None:
    shown, _ = CARD.body('{"card": 1, "name": "\\ud83d", "city": "K\\u00f6ln"}')
    assert shown == f'{{"card": "{MASK}", "name": "\\ud83d", "city": "Köln"}}'
