"""What a look of the outbox costs while rows wait: `python -m benchmarks.outbox [ROWS ...]`.

One row failed and waits, and so many of the same key wait behind it; the last row, of another key, can be sent. SQLite is a
file, PostgreSQL a server of its own. A look asks the database which rows can be sent.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from sqlalchemy import insert, text, update
from sqlalchemy.ext.asyncio import create_async_engine
from tests.brokers import postgresql
from tests.brokers.fixtures import running

from brokerkit import Bus
from brokerkit.outbox import Outbox

LOOKS: Final = 15
_STEP: Final = 5_000


async def looks(url: str, count: int) -> list[float]:
    """Seconds of each of some looks at a table with so many rows behind a failed one."""
    engine = create_async_engine(url)
    outbox = Outbox(engine, Bus("memory://x", topic="t"), table=f"rows_{count}")
    await outbox.create_tables()
    waiting: dict[str, Any] = {
        "id": "x",
        "target": "t",
        "lane": "a" * 64,
        "message": "{}",
        "body": b"b" * 270,
        "written": 0.0,
        "attempts": 0,
        "due": 0.0,
    }
    failed = {**waiting, "attempts": 1, "due": time.time() + 5_000}
    async with engine.begin() as connection:
        await connection.execute(insert(outbox.table), [failed])
        for first in range(0, count, _STEP):
            await connection.execute(insert(outbox.table), [waiting] * min(_STEP, count - first))
        await connection.execute(insert(outbox.table), [{**waiting, "lane": "b" * 64}])
        await connection.execute(update(outbox.table).where(outbox.table.c.attempts > 0).values(due=time.time() + 50))
    async with engine.connect() as connection:
        await connection.execute(text(f"ANALYZE {outbox.table.name}"))
        await connection.commit()
    found = list[float]()
    for _ in range(LOOKS):
        begun = time.perf_counter()
        rows = (await outbox._look()).rows
        found.append(time.perf_counter() - begun)
        if [row.lane[0] for row in rows] != ["b"]:
            sys.exit(f"the look found {len(rows)} rows")
    await engine.dispose()
    return found


def main() -> None:
    """Print milliseconds for a look: the least and the median."""
    counts = [int(word) for word in sys.argv[1:]] or [1_000, 100_000, 1_000_000]
    with tempfile.TemporaryDirectory() as folder, running(postgresql.server()) as server:
        urls = {"SQLite": f"sqlite+aiosqlite:///{Path(folder) / 'outbox.db'}", "PostgreSQL": server.engine_url}
        for name, url in urls.items():
            for count in counts:
                found = asyncio.run(looks(url, count))
                print(
                    f"{name}, {count:,} rows: {min(found) * 1e3:.1f} ms, median {statistics.median(found) * 1e3:.1f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
