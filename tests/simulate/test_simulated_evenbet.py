"""The simulated poker room: its books balance, whatever the seed."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import islice

import pytest

from brokerkit._vendors.simulate.evenbet import Simulated, events
from brokerkit.events.evenbet import (
    FAMILY,
    OnGameDone,
    OnPlayerBalanceChanged,
    OnTournamentCompleted,
    OnTransactionNotification,
    OnUserLoggedIn,
    OnUserLoggedOut,
    Participation,
    TournamentState,
)

SEEDS = range(5)


@pytest.fixture(scope="module", params=SEEDS)
def stream(request: pytest.FixtureRequest) -> list[Simulated]:
    return list(islice(events(request.param), 3_000))


def hands(stream: list[Simulated]) -> Iterator[OnGameDone]:
    return (event for _, event, _ in stream if isinstance(event, OnGameDone))


def players(hand: OnGameDone) -> list[Participation]:
    assert hand.participations
    return hand.participations


def number(value: float | None) -> int:
    assert isinstance(value, int)
    return value


def test_the_same_seed_gives_the_same_events() -> None:
    assert list(islice(events(7), 500)) == list(islice(events(7), 500))
    assert list(islice(events(7), 500)) != list(islice(events(8), 500))


def test_every_event_is_written_and_read_back_unchanged(stream: list[Simulated]) -> None:
    for name, event, _ in stream:
        assert FAMILY.read(name, FAMILY.write(event, name=name)) == event


def test_what_the_losers_bet_is_the_winners_pot_and_the_rake(stream: list[Simulated]) -> None:
    for hand in hands(stream):
        assert sum(number(one.bet) for one in players(hand)) == sum(number(one.pot) for one in players(hand)) + number(
            hand.total_rake
        )
        assert number(hand.total_rake) <= number(hand.rake_cap)
        assert sum(bool(one.is_win) for one in players(hand)) == 1


def test_a_stack_is_what_it_was_less_the_bet_and_with_the_pot(stream: list[Simulated]) -> None:
    stacks: dict[int, int] = {}
    for hand in hands(stream):
        for one in players(hand):
            session = one.player_on_table_id or one.player_in_tournament_id or 0
            before, after = number(one.stack_at_hand_begin), number(one.stack_at_hand_end)
            assert after == before - number(one.bet) + number(one.pot) >= 0
            # Chips of somebody who was knocked out may have come on top in a tournament.
            assert before == stacks.get(session, before) or (hand.tournament_id and before > stacks[session])
            stacks[session] = after


def test_no_card_is_dealt_twice(stream: list[Simulated]) -> None:
    for hand in hands(stream):
        cards = [*(hand.table_cards or ()), *(card for one in players(hand) for card in one.pocket_cards or ())]
        assert len(cards) == len(set(cards))


def test_every_change_of_a_balance_begins_where_the_last_one_ended_and_has_its_transaction(
    stream: list[Simulated],
) -> None:
    balances: dict[int, int] = {}
    changes: defaultdict[int, list[int]] = defaultdict(list)
    booked: defaultdict[int, list[int]] = defaultdict(list)
    for _, event, _ in stream:
        if isinstance(event, OnPlayerBalanceChanged):
            player, old, new = number(event.player_id), number(event.old_amount), number(event.new_amount)
            assert balances.get(player, old) == old
            assert new >= 0
            assert number(event.new_in_play_amount) >= 0
            balances[player] = new
            changes[player].append(new - old)
        elif isinstance(event, OnTransactionNotification):
            booked[number(event.param_player_id)].append(number(event.amount))
    for player, amounts in changes.items():
        assert Counter(booked[player]) <= Counter(amounts)
        assert len(amounts) - len(booked[player]) <= 1  # the stream may be cut between the two


def test_tournaments_run_from_registration_to_their_results(stream: list[Simulated]) -> None:
    states: defaultdict[str, list[int]] = defaultdict(list)
    completed: list[tuple[str, OnTournamentCompleted]] = []
    for name, event, key in stream:
        if name == "OnTournamentStateChanged":
            states[key].append(event.tournament_state)  # type: ignore[attr-defined]
        elif isinstance(event, OnTournamentCompleted):
            completed.append((key, event))
    assert completed
    for key, event in completed:
        wanted = [TournamentState.REGISTERING, TournamentState.SEATING, TournamentState.RUNNING, TournamentState.DONE]
        assert states[key] == wanted
        assert [row.place_from for row in event.fee_list or ()] == [1, 2, 3, 4, 5, 6]


def test_only_who_is_logged_in_plays_or_logs_out(stream: list[Simulated]) -> None:
    online: set[int | None] = set()
    for _, event, _ in stream:
        if isinstance(event, OnUserLoggedIn):
            online.add(event.player_id)
        elif isinstance(event, OnUserLoggedOut):
            assert event.player_id in online
            online.discard(event.player_id)
        elif isinstance(event, OnGameDone):
            assert {one.player_id for one in players(event)} <= online
