"""The faults that are put into the handlers that run once for each message."""

from __future__ import annotations

from typing import Final

from tests.simulation.mutants import Mutation

_PATH: Final = "_consuming/_idempotent.py"
DEDUPE_MUTATIONS: Final = (
    Mutation(
        "a claim is not given back after a failure",
        _PATH,
        "                await self._give_back(claim)\n",
        "                pass\n",
        "dedupe",
    ),
    Mutation(
        "what another process handles counts as done",
        _PATH,
        "            raise Postponed(_pause(min(max(answer.wait, _SHORTEST_WAIT), _LONGEST_WAIT)))",
        "            return Done()",
        "dedupe",
    ),
    Mutation(
        "claims are not extended",
        _PATH,
        "            await asyncio.gather(*(self._extend(claim) for claim in self._claims))",
        "            pass",
        "dedupe",
    ),
    Mutation(
        "a mark that came too late counts",
        _PATH,
        "        if not finished:\n",
        "        if not finished and False:\n",
        "dedupe",
    ),
    Mutation(
        "a mark that may be lost counts",
        _PATH,
        "                if claim.session is not None or time() >= give_up:\n                    raise\n",
        "                return True\n",
        "dedupe",
    ),
    Mutation(
        "nothing marks a message as done",
        _PATH,
        "            finished = await self._finish(claim)\n",
        "            finished = True\n",
        "dedupe",
    ),
)
"""They are searched for with `dedupe.simulate_dedupe`."""
