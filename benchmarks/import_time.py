"""How long it takes to import all names of brokerkit, beyond pydantic and asyncio, which a service loads anyway.

Run it: python benchmarks/import_time.py [RUNS]
"""

import statistics
import subprocess
import sys

PROGRAM = """
import time
import asyncio
from pydantic import BaseModel, Field, SecretStr, TypeAdapter, model_validator
begun = time.perf_counter()
from brokerkit import *
print((time.perf_counter() - begun) * 1000)
"""


def main() -> None:
    """Print the minimum, median and maximum of several fresh interpreters."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    figures = [
        float(subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True).stdout)
        for _ in range(runs)
    ]
    print(
        f"import brokerkit, beyond pydantic and asyncio: {min(figures):.0f} / {statistics.median(figures):.0f} / "
        f"{max(figures):.0f} ms (minimum, median, maximum of {runs})"
    )


if __name__ == "__main__":
    main()
