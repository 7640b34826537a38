"""The statements on the tables. Each function runs inside one transaction. No waiting, no threads."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from brokerkit.adapters.sqlite._rows import FIELDS, Row

NO_TOPIC: Final = 0
"""The topic of messages for one group alone. Ids of topics begin with 1."""
_COLUMNS: Final = "topic, id, key, name, headers, body, content_type, routing_key, type, time"
_SCANNED: Final = 8
"""If other processes are handling keys, this many messages are read for each one that may be taken."""


@dataclass(frozen=True, slots=True)
class Group:
    """A group as a source knows it."""

    id: int
    topic: int
    name: str


@dataclass(frozen=True, slots=True)
class Taken:
    """A message that was taken for a group.

    Attributes:
        group: which.
        row: the message's fields, in the order of `FIELDS`.
        deliveries: how often it was delivered, this time included.
        id: the id of a retry's copy, or None.
        headers: the headers of a retry's copy as JSON, or None.
    """

    group: Group
    row: Row
    deliveries: int
    id: str | None
    headers: str | None


def find_topic(db: sqlite3.Connection, name: str) -> int | None:
    """A topic's number, or None if there is no such topic."""
    found = db.execute("SELECT id FROM bk_topics WHERE name = ?", (name,)).fetchone()
    return None if found is None else found[0]


def add_topic(db: sqlite3.Connection, name: str, *, is_queue: bool) -> int:
    """Create a topic if there is none of that name. A queue has one group from the beginning."""
    if (found := find_topic(db, name)) is not None:
        return found
    db.execute("INSERT INTO bk_topics (name, is_queue) VALUES (?, ?)", (name, is_queue))
    topic: int = db.execute("SELECT last_insert_rowid()").fetchone()[0]
    if is_queue:
        db.execute("INSERT INTO bk_groups (topic, name, next, private) VALUES (?, '', 0, 0)", (topic,))
    return topic


def find_group(db: sqlite3.Connection, topic: int, name: str) -> Group | None:
    """A group of a topic, or None."""
    found = db.execute("SELECT id FROM bk_groups WHERE topic = ? AND name = ?", (topic, name)).fetchone()
    return None if found is None else Group(found[0], topic, name)


def add_group(db: sqlite3.Connection, topic: int, name: str, *, from_start: bool, private: bool) -> Group:
    """Create a group if there is none of that name."""
    if (found := find_group(db, topic, name)) is not None:
        return found
    first = 0
    if not from_start:
        first = (
            1 + db.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'bk_messages'").fetchone()[0]
        )
    db.execute("INSERT INTO bk_groups (topic, name, next, private) VALUES (?, ?, ?, ?)", (topic, name, first, private))
    return Group(db.execute("SELECT last_insert_rowid()").fetchone()[0], topic, name)


def drop_group(db: sqlite3.Connection, group: Group) -> None:
    """Forget a group, and the messages that it alone kept."""
    db.execute("DELETE FROM bk_pending WHERE grp = ?", (group.id,))
    db.execute("DELETE FROM bk_groups WHERE id = ?", (group.id,))
    delete_settled(db, group.topic, None)


def publish(db: sqlite3.Connection, rows: Sequence[Row]) -> int:
    """Append messages. Return the number of the last one."""
    db.executemany(f"INSERT INTO bk_messages ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)  # noqa: S608
    last: int = db.execute("SELECT last_insert_rowid()").fetchone()[0]
    return last


def keep_back(db: sqlite3.Connection, rows: Sequence[Row]) -> None:
    """Keep messages for later. A row begins with the Unix time at which it is due; then it is as for `publish`."""
    db.executemany(f"INSERT INTO bk_later (due, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)  # noqa: S608


def bring_due(db: sqlite3.Connection, *, clock: float) -> float | None:
    """Append what is due to its topic. Return the seconds until the next message is due, or None where there is none.

    Args:
        db: in a transaction that writes.
        clock: the Unix time in seconds.
    """
    first: float | None = db.execute("SELECT min(due) FROM bk_later").fetchone()[0]
    if first is None or first > clock:
        return None if first is None else first - clock
    db.execute(
        f"INSERT INTO bk_messages ({_COLUMNS}) SELECT {_COLUMNS} FROM bk_later WHERE due <= ? ORDER BY due, n",  # noqa: S608
        (clock,),
    )
    db.execute("DELETE FROM bk_later WHERE due <= ?", (clock,))
    return bring_due(db, clock=clock)


def give_to_group(db: sqlite3.Connection, group: Group, n: int, row: Row) -> None:
    """Put a message that was published in `NO_TOPIC` into one group, as a copy that is due: its headers count as ours.

    ``row`` is as for `publish`.
    """
    _, id, key, _, headers, *_ = row
    db.execute(
        "INSERT INTO bk_pending (grp, n, owner, until, due, deliveries, key, id, headers)"
        " VALUES (?, ?, NULL, 0, 0, 0, ?, ?, ?)",
        (group.id, n, key, id, headers),
    )


def take(
    db: sqlite3.Connection, groups: Sequence[Group], *, owner: str, limit: int, now: float, until: float
) -> list[Taken]:
    """Take free messages, then new ones, for each group in turn.

    If another owner has a message of a key under way, the key is left to that owner. So order by key holds across all
    members.

    Args:
        db: in a transaction that writes.
        groups: whose.
        owner: who takes.
        limit: the most that are taken.
        now: seconds since the start of the machine; leases and waits use this time.
        until: when the leases end.
    """
    taken: list[Taken] = []
    for group in groups:
        if (left := limit - len(taken)) <= 0:
            break
        db.execute(
            "UPDATE bk_pending SET owner = NULL, until = 0 WHERE grp = ? AND owner IS NOT NULL AND until < ?",
            (group.id, now),
        )
        others = {
            key
            for (key,) in db.execute(
                "SELECT DISTINCT key FROM bk_pending"
                " WHERE grp = ? AND owner IS NOT NULL AND owner <> ? AND key IS NOT NULL",
                (group.id, owner),
            )
        }
        taken += _take_free(db, group, owner=owner, limit=left, now=now, until=until, others=others)
        if (left := limit - len(taken)) > 0:
            taken += _take_new(db, group, owner=owner, limit=left, until=until, others=others)
    return taken


def _take_free(
    db: sqlite3.Connection, group: Group, *, owner: str, limit: int, now: float, until: float, others: set[Any]
) -> list[Taken]:
    scanned = limit * _SCANNED if others else limit
    rows = db.execute(
        f"SELECT {FIELDS}, p.deliveries, p.id, p.headers FROM bk_pending p JOIN bk_messages m ON m.n = p.n"  # noqa: S608
        " WHERE p.grp = ? AND p.owner IS NULL AND p.due <= ? ORDER BY p.n LIMIT ?",
        (group.id, now, scanned),
    ).fetchall()
    mine = [row for row in rows if row[2] is None or row[2] not in others][:limit]
    db.executemany(
        "UPDATE bk_pending SET owner = ?, until = ?, due = 0, deliveries = deliveries + 1 WHERE grp = ? AND n = ?",
        [(owner, until, group.id, row[0]) for row in mine],
    )
    return [Taken(group, row[:10], row[10] + 1, row[11], row[12]) for row in mine]


def _take_new(
    db: sqlite3.Connection, group: Group, *, owner: str, limit: int, until: float, others: set[Any]
) -> list[Taken]:
    scanned = limit * _SCANNED if others else limit
    first = db.execute("SELECT next FROM bk_groups WHERE id = ?", (group.id,)).fetchone()[0]
    rows = db.execute(
        f"SELECT {FIELDS} FROM bk_messages m WHERE m.topic = ? AND m.n >= ? ORDER BY m.n LIMIT ?",  # noqa: S608
        (group.topic, first, scanned),
    ).fetchall()
    # New messages must not overtake those that wait behind a free one or one that was put off.
    mine: list[Row] = []
    left: list[Row] = []
    behind = _waiting_keys(db, group, rows)
    seen = 0
    for row in rows:
        if len(mine) == limit:
            break
        seen += 1
        key = row[2]
        if key is not None and (key in others or key in behind):
            behind.add(key)
            left.append(row)
        else:
            mine.append(row)
    if not seen:
        return []
    pending = "INSERT INTO bk_pending (grp, n, owner, until, due, deliveries, key) VALUES (?, ?, ?, ?, 0, ?, ?)"
    db.executemany(pending, [(group.id, row[0], owner, until, 1, row[2]) for row in mine])
    db.executemany(pending, [(group.id, row[0], None, 0.0, 0, row[2]) for row in left])
    db.execute("UPDATE bk_groups SET next = ? WHERE id = ?", (rows[seen - 1][0] + 1, group.id))
    return [Taken(group, row, 1, None, None) for row in mine]


def _waiting_keys(db: sqlite3.Connection, group: Group, rows: Sequence[Row]) -> set[Any]:
    """Keys of which an earlier message is free and due, and was not taken just now."""
    if db.execute(
        "SELECT 1 FROM bk_pending WHERE grp = ? AND owner IS NULL AND due = 0 LIMIT 1", (group.id,)
    ).fetchone():
        found = db.execute(
            "SELECT DISTINCT key FROM bk_pending WHERE grp = ? AND owner IS NULL AND due = 0 AND key IS NOT NULL",
            (group.id,),
        )
        return {key for (key,) in found}
    return set()


def acknowledge(db: sqlite3.Connection, group: Group, numbers: Sequence[int], owner: str) -> set[int]:
    """Settle for good. Return the numbers that were still the owner's."""
    lost = _lost(db, group, numbers, owner, "DELETE FROM bk_pending WHERE grp = ? AND n = ? AND owner = ?")
    done = set(numbers) - lost
    delete_settled(db, group.topic, sorted(done))
    return done


def delete_settled(db: sqlite3.Connection, topic: int, numbers: Iterable[int] | None) -> None:
    """Delete messages, of these numbers or all, that every group of the topic has settled."""
    groups = db.execute("SELECT id, next FROM bk_groups WHERE topic = ?", (topic,)).fetchall()
    if not groups:
        return  # kept for groups that come later
    taken = min(first for _, first in groups)
    if numbers is None:
        db.execute(
            "DELETE FROM bk_messages WHERE topic = ? AND n < ? AND NOT EXISTS ("
            " SELECT 1 FROM bk_groups g JOIN bk_pending p ON p.grp = g.id AND p.n = bk_messages.n WHERE g.topic = ?)",
            (topic, taken, topic),
        )
    elif len(groups) == 1:
        db.executemany("DELETE FROM bk_messages WHERE n = ?", [(n,) for n in numbers])
    else:
        db.executemany(
            "DELETE FROM bk_messages WHERE n = ? AND (topic <> ? OR n < ? AND NOT EXISTS ("
            " SELECT 1 FROM bk_groups g JOIN bk_pending p ON p.grp = g.id AND p.n = ? WHERE g.topic = ?))",
            [(n, topic, taken, n, topic) for n in numbers],
        )


def remove(db: sqlite3.Connection, topic: int, numbers: Sequence[int]) -> None:
    """Delete messages of a queue, even if a reader has them."""
    db.executemany("DELETE FROM bk_messages WHERE n = ?", [(n,) for n in numbers])
    groups = [group for (group,) in db.execute("SELECT id FROM bk_groups WHERE topic = ?", (topic,))]
    db.executemany("DELETE FROM bk_pending WHERE grp = ? AND n = ?", [(group, n) for group in groups for n in numbers])


def release(db: sqlite3.Connection, group: Group, numbers: Sequence[int], owner: str) -> set[int]:
    """Give back without counting the delivery. Return the numbers that were no longer the owner's."""
    return _lost(
        db,
        group,
        numbers,
        owner,
        "UPDATE bk_pending SET owner = NULL, until = 0, due = 0, deliveries = deliveries - 1"
        " WHERE grp = ? AND n = ? AND owner = ?",
    )


def put_off(
    db: sqlite3.Connection, group: Group, n: int, owner: str, *, due: float, wall: float, id: str, headers: str
) -> bool:
    """Have a message wait until ``due``, at Unix time ``wall``, with the id and headers of its copy.

    False if it was not the owner's.
    """
    found = db.execute(
        "UPDATE bk_pending SET owner = NULL, until = 0, due = ?, wall = ?, deliveries = 0, begun = 0, id = ?, headers = ?"
        " WHERE grp = ? AND n = ? AND owner = ?",
        (due, wall, id, headers, group.id, n, owner),
    )
    return found.rowcount == 1


def waiting(db: sqlite3.Connection, group: Group, *, now: float) -> tuple[int, float | None]:
    """How many messages of a group are put off, and the Unix time at which the first of them is due.

    Args:
        db: in a transaction.
        group: which.
        now: seconds since the start of the machine.
    """
    found: tuple[int, float | None] = db.execute(
        "SELECT count(*), min(wall) FROM bk_pending WHERE grp = ? AND owner IS NULL AND due > ?", (group.id, now)
    ).fetchone()
    return found


def extend(db: sqlite3.Connection, group: Group, numbers: Sequence[int], owner: str, until: float) -> set[int]:
    """Renew leases. Return the numbers that were no longer the owner's."""
    statement = f"UPDATE bk_pending SET until = {until!r} WHERE grp = ? AND n = ? AND owner = ?"  # noqa: S608 (a float)
    return _lost(db, group, numbers, owner, statement)


def begin_alone(db: sqlite3.Connection, group: Group, n: int) -> int:
    """Count one more lone start of a message. Return how many there are."""
    db.execute("UPDATE bk_pending SET begun = begun + 1 WHERE grp = ? AND n = ?", (group.id, n))
    found = db.execute("SELECT begun FROM bk_pending WHERE grp = ? AND n = ?", (group.id, n)).fetchone()
    return int(found[0]) if found is not None else 1


def end_alone(db: sqlite3.Connection, group: Group, n: int) -> None:
    """Take all lone starts of a message back."""
    db.execute("UPDATE bk_pending SET begun = 0 WHERE grp = ? AND n = ?", (group.id, n))


def _lost(db: sqlite3.Connection, group: Group, numbers: Sequence[int], owner: str, statement: str) -> set[int]:
    """Run a statement for each number. Return the numbers for which it changed nothing."""
    return {n for n in numbers if db.execute(statement, (group.id, n, owner)).rowcount != 1}


def free(db: sqlite3.Connection, group: Group, owner: str) -> None:
    """Give back everything of an owner that has died."""
    db.execute("UPDATE bk_pending SET owner = NULL, until = 0 WHERE grp = ? AND owner = ?", (group.id, owner))


def next_change(db: sqlite3.Connection, groups: Sequence[Group], *, now: float) -> float | None:
    """Seconds until a wait or a lease ends, or None if there is none."""
    waits: list[float] = []
    for group in groups:
        due = db.execute("SELECT min(due) FROM bk_pending WHERE grp = ? AND owner IS NULL", (group.id,)).fetchone()[0]
        until = db.execute(
            "SELECT min(until) FROM bk_pending WHERE grp = ? AND owner IS NOT NULL", (group.id,)
        ).fetchone()[0]
        waits += [due - now] if due is not None else []
        waits += [until - now] if until is not None else []
    return min(waits, default=None)


def lag(db: sqlite3.Connection, groups: Sequence[Group]) -> int:
    """How many messages wait for these groups, those that are put off included."""
    total = 0
    for group in groups:
        new = "SELECT count(*) FROM bk_messages WHERE topic = ? AND n >= (SELECT next FROM bk_groups WHERE id = ?)"
        total += db.execute(new, (group.topic, group.id)).fetchone()[0]
        total += db.execute("SELECT count(*) FROM bk_pending WHERE grp = ? AND owner IS NULL", (group.id,)).fetchone()[
            0
        ]
    return total
