"""Checks downloaded jars and archives against their SHA-256 sums: `python -m tests.brokers.sums NAME FOLDER`.

`locks/NAME.sha256` has a line for each file. `make lock` does not write these lists: for a new version of Kafka, ElasticMQ
or the schema registry, write one with `cd .brokers/NAME.part && sha256sum *`, from a download that you have reason
to believe.
"""

import hashlib
import re
import sys
from pathlib import Path
from typing import Final

LOCKS: Final = Path(__file__).parent / "locks"


def main(name: str, folder: Path) -> int:
    """Print what differs, and return 1 if anything does."""
    lock = LOCKS / f"{name}.sha256"
    if not lock.exists():
        print(f"brokers: {name} has no list in tests/brokers/locks: its files are not checked", file=sys.stderr)
        return 0
    wanted = {file: digest for digest, file in re.findall(r"^(\w{64})  (\S+)$", lock.read_text("utf-8"), re.MULTILINE)}
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    strange = sorted(file for file in wanted.keys() | found.keys() if wanted.get(file) != found.get(file))
    for file in strange:
        print(f"brokers: {name}: {file} is not the file that {lock.name} names", file=sys.stderr)
    return int(bool(strange))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
