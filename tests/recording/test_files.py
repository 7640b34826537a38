"""A recording on the disk: every message comes back, and a crash takes nothing that was synced."""

from __future__ import annotations

import gzip
import os
import tracemalloc
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokerkit import BrokerkitError, Message
from brokerkit._vendors.simulate import evenbet
from brokerkit.recording import Recording
from brokerkit.recording._file import RecordingFile
from brokerkit.recording._lines import head_line, message_line, message_of, parse
from brokerkit.recording._reading import lines

HEAD = head_line(format="evenbet", name_from=("header:event",))
TEXTS = st.text(st.characters(exclude_categories=()), max_size=10)
VALUES = st.binary(max_size=10) | st.text(max_size=10)


def envelope(message: Message) -> tuple[object, ...]:
    headers = message.headers
    return (message.id, message.name, message.key, message.time, message.topic, headers, message.body)


@given(
    name=TEXTS,
    body=st.none() | st.binary(max_size=50),
    key=st.none() | VALUES,
    headers=st.dictionaries(TEXTS, VALUES, max_size=3),
    id=st.none() | TEXTS,
    time=st.none() | st.floats(0, 1e11),
    topic=TEXTS,
)
def test_a_message_of_any_values_comes_back(
    name: str,
    body: bytes | None,
    key: str | bytes | None,
    headers: dict[str, str | bytes],
    id: str | None,
    time: float | None,
    topic: str,
) -> None:
    message = Message(name, body, key=key, headers=headers, id=id, time=time, topic=topic)
    line = message_line(message)
    assert line.count(b"\n") == 1
    assert envelope(message_of(parse(line))) == envelope(message)


def write(path: Path, *, batches: int, end: bool = True) -> list[int]:
    """Write a recording of batches of ten; how many bytes the file had after each."""
    events = evenbet.events(3)
    file = RecordingFile(path)
    file.write([HEAD])
    sizes = []
    for _ in range(batches):
        file.write([message_line(one.message) for one in islice(events, 10)])
        sizes.append(path.stat().st_size)
    if end:
        file.close()
    else:
        # As a kill has it: without the end that closing writes.
        os.truncate(path, sizes[-1])
        file.close()
        os.truncate(path, sizes[-1])
    return sizes


@pytest.mark.parametrize("name", ["r.jsonl", "r.jsonl.gz"])
def test_a_recording_that_was_cut_off_anywhere_holds_all_that_was_synced_before(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    sizes = write(path, batches=5)
    whole = path.read_bytes()
    for length in range(sizes[0], len(whole), 37):
        path.write_bytes(whole[:length])
        recording = Recording(path)
        found = [number for number, _ in recording]
        synced = 10 * sum(size <= length for size in sizes)
        assert len(found) >= synced
        assert found == list(range(1, len(found) + 1))
        assert bool(recording.cut) or length in (sizes if name == "r.jsonl" else ()) or len(found) < 50


@pytest.mark.parametrize("tail", [b"", b"\x00" * 512, b"\xff" * 512])
def test_what_a_crash_of_the_machine_leaves_behind_the_synced_part_is_no_matter(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "r.jsonl.gz"
    write(path, batches=2, end=False)
    with path.open("ab") as file:
        file.write(tail)
    recording = Recording(path)
    assert len(list(recording)) == 20
    assert recording.cut == [path]


def test_a_whole_recording_is_ordinary_gzip_and_not_cut(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl.gz"
    write(path, batches=2)
    assert gzip.decompress(path.read_bytes()).count(b"\n") == 21
    recording = Recording(path)
    assert len(list(recording)) == 20
    assert recording.cut == []
    assert (recording.format, recording.name_from) == ("evenbet", ("header:event",))


def test_several_files_are_one_recording(tmp_path: Path) -> None:
    write(tmp_path / "1.jsonl.gz", batches=2, end=False)
    write(tmp_path / "2.jsonl", batches=1)
    recording = Recording(tmp_path / "1.jsonl.gz", tmp_path / "2.jsonl")
    assert [number for number, _ in recording.messages(skip=18)] == list(range(19, 31))


def test_a_recording_can_be_read_by_its_owner_alone(tmp_path: Path) -> None:
    write(tmp_path / "r.jsonl", batches=1)
    assert (tmp_path / "r.jsonl").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", "is not a recording"),
        (b'{"id": 1}\n', "is not a recording"),
        (b"PK\x03\x04", "is not a recording"),
        (b"\x1f\x8b\x08\x00", "is not a recording"),
        (b'{"brokerkit-recording":9}\n', "is a recording of version 9; this release reads version 1"),
        (HEAD + b'{"id": "x"}\n', "line 2 is not a message"),
        (HEAD + b"[]\n", "line 2 is not a message"),
    ],
)
def test_what_is_no_recording_is_an_error_that_names_the_file(tmp_path: Path, content: bytes, error: str) -> None:
    (tmp_path / "r.jsonl").write_bytes(content)
    with pytest.raises(BrokerkitError, match=rf"r\.jsonl.*{error}"):
        list(Recording(tmp_path / "r.jsonl"))
    with pytest.raises(BrokerkitError, match=r"none\.jsonl cannot be read: No such file"):
        Recording(tmp_path / "none.jsonl")


def test_what_unpacks_to_far_more_than_its_size_takes_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(HEAD + b"\0" * (200 * 2**20), compresslevel=1))
    assert path.stat().st_size < 2 * 2**20
    tracemalloc.start()
    try:
        with pytest.raises(BrokerkitError, match="is no recording: it has a line of more than 134,217,728 bytes"):
            list(lines(path, lambda: None))
        assert tracemalloc.get_traced_memory()[1] < 200 * 2**20
    finally:
        tracemalloc.stop()


def test_lines_that_were_packed_well_are_all_read_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "well.gz"
    path.write_bytes(gzip.compress(b"a line that comes again\n" * 400_000, compresslevel=9))
    cut: list[bool] = []
    tracemalloc.start()
    try:
        assert sum(line == b"a line that comes again" for line in lines(path, lambda: cut.append(True))) == 400_000
        assert tracemalloc.get_traced_memory()[1] < 32 * 2**20
    finally:
        tracemalloc.stop()
    assert not cut
