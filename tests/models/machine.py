"""What befalls a broker and its members, chosen by hypothesis: the model must hold whatever it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.models.members import Driver, Member, Way, World

KEYS = st.sampled_from(["a", "b", None])
# Which member or delivery is meant is a number that each example takes for what there is: what a broker does first must not
# decide what hypothesis draws.
WHICH = st.integers(0, 5)
PICKS = st.lists(WHICH, min_size=1, max_size=4)
WHAT = st.sampled_from([*["take"] * 4, *["settle"] * 4, *["publish"] * 2, "join", "leave", "crash", "extend", "browse"])
WAYS: st.SearchStrategy[Way] = st.sampled_from(["ack", "ack", "release", "retry"])


def machine(make: Callable[[int], World], seen: set[str]) -> type[RuleBasedStateMachine]:
    """A state machine.

    Args:
        make: makes the world of an example; the number decides what is left to chance.
        seen: gets what the broker was seen to do.
    """

    class Machine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.world: World | None = None
            self.driver: Any = None

        def _run(self, call: Callable[[Driver], Any]) -> None:
            async def run() -> None:
                assert self.world is not None
                if self.driver is None:
                    self.driver = Driver(self.world)
                await call(self.driver)

            assert self.world is not None
            self.world.run(run())

        @initialize(keys=st.lists(KEYS, min_size=1, max_size=4), chance=st.integers(0, 9_999))
        def begin(self, keys: list[str | None], chance: int) -> None:
            self.world = make(chance)
            self._run(lambda driver: driver.begin())
            self._run(lambda driver: driver.publish(keys))

        # One rule, because hypothesis leaves out some rules in each example, and little can happen without any of these.
        @rule(
            what=WHAT,
            which=WHICH,
            picks=PICKS,
            ways=st.lists(WAYS, min_size=4, max_size=4),
            keys=st.lists(KEYS, min_size=1, max_size=3),
        )
        def step(self, what: str, which: int, picks: list[int], ways: list[Way], keys: list[str | None]) -> None:
            members = self.driver.members
            member: Member | None = members[which % len(members)] if members else None
            match what:
                case "publish":
                    self._run(lambda driver: driver.publish(keys))
                case "take":
                    self._run(lambda driver: driver.take(1 + which % 4))
                case "browse":
                    self._run(lambda driver: driver.browse())
                case "join":
                    self._run(lambda driver: driver.join())
                case "settle" if member:
                    self._run(lambda driver: driver.settle(member, picks, ways))
                case "extend" if member:
                    self._run(lambda driver: driver.extend(member))
                case "leave" if member:
                    self._run(lambda driver: driver.leave(member, release=bool(which & 1)))
                case "crash" if member:
                    self._run(lambda driver: driver.crash(member))
                case _:
                    self._run(lambda driver: driver.join())

        @invariant()
        def nothing_is_wrong(self) -> None:
            if self.driver is not None:
                assert not self.driver.model.wrong, "\n".join(self.driver.model.lines)

        def teardown(self) -> None:
            if self.world is None:
                return
            try:
                if self.driver is not None and not self.driver.model.wrong:
                    self._run(lambda driver: driver.finish())
            finally:
                try:
                    self._run(lambda driver: driver.end())
                finally:
                    self.world.close()
            seen.update(self.driver.model.seen)
            assert not self.driver.model.wrong, "\n".join(self.driver.model.lines)

    return Machine
