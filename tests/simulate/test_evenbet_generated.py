"""Whatever the seed: who reads the stream from its first event can follow every player, chip and tournament."""

from __future__ import annotations

from itertools import islice

from hypothesis import given, settings
from hypothesis import strategies as st

from brokerkit._vendors.simulate import evenbet
from brokerkit.events.evenbet import (
    FAMILY,
    OnGameDone,
    OnPlayerBalanceChanged,
    OnPlayerLeaveTable,
    OnPlayerLeftTournament,
    OnPlayerSeatedDown,
    OnPlayerUnregisteredFromTournament,
    OnTournamentCompleted,
    OnTournamentCreated,
    OnTournamentPlayerRegisterResult,
    OnTournamentPlayerSeatedDown,
    OnTournamentStateChanged,
    TournamentState,
)

CHIPS = 20_000


class Follower:
    """Keeps its own books of what it reads, and fails where an event does not follow from those before."""

    def __init__(self) -> None:
        self.cash: dict[int, dict[int, int]] = {}  # table -> player -> stack
        self.states: dict[int, int] = {}
        self.registered: dict[int, set[int]] = {}
        self.chips: dict[int, dict[int, int]] = {}  # tournament -> player -> stack

    def read(self, event: object) -> None:
        match event:
            case OnPlayerBalanceChanged():
                assert (event.new_amount or 0) >= 0
                assert (event.new_in_play_amount or 0) >= 0
            case OnPlayerSeatedDown():
                table = self.cash.setdefault(event.table_id or 0, {})
                assert event.player_id not in table
                # Nothing is said of the buy-in here but that it has gone into play.
                table[event.player_id or 0] = -1
                assert len(table) == event.num_active_players
            case OnPlayerLeaveTable():
                stack = self.cash[event.table_id or 0].pop(event.player_id or 0)
                assert stack in (-1, event.amount)
            case OnTournamentCreated():
                assert event.tournament_id not in self.states
                self.states[event.tournament_id or 0] = TournamentState.WAIT_FOR_ANNOUNCE
                self.registered[event.tournament_id or 0] = set()
            case OnTournamentStateChanged():
                after = {
                    TournamentState.WAIT_FOR_ANNOUNCE: TournamentState.REGISTERING,
                    TournamentState.REGISTERING: TournamentState.SEATING,
                    TournamentState.SEATING: TournamentState.RUNNING,
                    TournamentState.RUNNING: TournamentState.DONE,
                }
                number = event.tournament_id or 0
                assert event.tournament_state == after[TournamentState(self.states[number])]
                self.states[number] = event.tournament_state or 0
            case OnTournamentPlayerRegisterResult():
                extra = event.model_extra or {}
                assert self.states[extra["tournamentId"]] == TournamentState.REGISTERING
                assert extra["playerId"] not in self.registered[extra["tournamentId"]]
                self.registered[extra["tournamentId"]].add(extra["playerId"])
            case OnPlayerUnregisteredFromTournament():
                assert self.states[event.tournament_id or 0] == TournamentState.REGISTERING
                self.registered[event.tournament_id or 0].remove(event.player_id or 0)
            case OnTournamentPlayerSeatedDown():
                assert self.states[event.tournament_id or 0] == TournamentState.SEATING
                assert event.player_id in self.registered[event.tournament_id or 0]
                self.chips.setdefault(event.tournament_id or 0, {})[event.player_id or 0] = CHIPS
            case OnPlayerLeftTournament():
                assert self.states[event.tournament_id or 0] == TournamentState.RUNNING
                stacks = self.chips[event.tournament_id or 0]
                assert len(stacks) == event.place_from
                left = stacks.pop(event.player_id or 0)
                stacks[max(stacks, key=lambda player: stacks[player])] += left
            case OnTournamentCompleted():
                assert self.states[event.tournament_id or 0] == TournamentState.DONE
                places = {row.player_id for row in event.fee_list or ()}
                assert places == self.registered[event.tournament_id or 0]
                [winner] = self.chips[event.tournament_id or 0].values()
                assert winner == CHIPS * len(places)
            case OnGameDone():
                self.read_hand(event)
            case _:
                pass

    def read_hand(self, hand: OnGameDone) -> None:
        players = hand.participations or []
        if hand.tournament_id:
            assert self.states[hand.tournament_id] == TournamentState.RUNNING
            stacks = self.chips[hand.tournament_id]
        else:
            stacks = self.cash[hand.table_id or 0]
        assert {one.player_id for one in players} == set(stacks)
        total = 0
        for one in players:
            player, before, after = one.player_id or 0, one.stack_at_hand_begin or 0, one.stack_at_hand_end or 0
            assert stacks[player] in (-1, before)
            assert min(before, after) >= 0
            stacks[player] = after
            total += after - before
        assert total == -(hand.total_rake or 0)
        assert not (hand.tournament_id and hand.total_rake)


@settings(max_examples=12)
@given(seed=st.integers(), length=st.integers(100, 2_500))
def test_every_event_follows_from_those_before(seed: int, length: int) -> None:
    follower = Follower()
    for _, event, _ in islice(evenbet.events(seed), length):
        follower.read(event)


@settings(max_examples=8)
@given(seed=st.integers())
def test_every_message_is_a_valid_event_that_is_written_as_it_was_read(seed: int) -> None:
    for simulated in islice(evenbet.events(seed), 400):
        message = simulated.message
        assert message.key == simulated.key
        event = FAMILY.read(message.name, message.body or b"")
        assert event == simulated.event
        assert FAMILY.write(event, name=message.name) == message.body


def test_a_long_stream_has_every_part_of_the_rooms_life() -> None:
    names = {name for name, _, _ in islice(evenbet.events(1), 20_000)}
    assert names >= {
        "OnGameDone",
        "OnPlayerBalanceChanged",
        "OnPlayerLeaveTable",
        "OnPlayerLeftTournament",
        "OnPlayerSeatedDown",
        "OnPlayerUnregisteredFromTournament",
        "OnPlayerWinInTournament",
        "OnTournamentCompleted",
        "OnTournamentCreated",
        "OnTournamentPlayerRegisterResult",
        "OnTournamentPlayerSeatedDown",
        "OnTournamentStateChanged",
        "OnTransactionNotification",
        "OnUserLoggedIn",
        "OnUserLoggedOut",
    }
