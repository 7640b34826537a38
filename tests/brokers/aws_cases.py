"""What each stand-in for AWS does in cases where they differ, beside what AWS documents.

`python -m tests.brokers.aws_cases` starts each of them, tries every case with the client library alone, and writes
docs/aws-stand-ins.json; `scripts/generate_docs.py` makes the tables of docs/aws.md of it. `test_aws_cases.py` tries the
refusals on the stand-ins of a test run.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Final

from aiobotocore.session import get_session
from botocore.exceptions import ClientError

from tests.brokers import aws, fixtures, versions
from tests.brokers._server import CHECKOUT
from tests.brokers.aws import client_options
from tests.brokers.aws_case import Bench, Case
from tests.brokers.aws_sns_cases import SNS_CASES
from tests.brokers.aws_sqs_cases import SQS_CASES, SQS_LIMITS

RESULTS: Final = CHECKOUT / "docs" / "aws-stand-ins.json"
STAND_INS: Final = ("elasticmq", "moto", "localstack", "fauxqs")


def cases(name: str) -> Sequence[Case]:
    """The cases for a stand-in: ElasticMQ has no SNS."""
    return (*SQS_CASES, *SQS_LIMITS, *(() if name == "elasticmq" else SNS_CASES))


async def answers(url: str, cases: Sequence[Case]) -> dict[str, str]:
    """What the stand-in at an address does in each case, by name."""
    found: dict[str, str] = {}
    session = get_session()
    options = client_options(url)
    async with session.create_client("sqs", **options) as sqs, session.create_client("sns", **options) as sns:
        bench = Bench(sqs, sns)
        results = await asyncio.gather(*(_answer(case, bench) for case in cases))
        found.update(zip((case.name for case in cases), results, strict=True))
    return found


async def _answer(case: Case, bench: Bench) -> str:
    try:
        return await case.run(bench)
    except ClientError as error:
        return f"{error.operation_name} fails: {error.response['Error']['Code']}"
    except ValueError as error:
        return f"something else: {error}"


def main() -> int:
    """Try every case on every stand-in, and keep the answers."""
    kept: dict[str, dict[str, Any]] = {}
    os.environ.pop(aws.SQS_VARIABLE, None)
    for name in STAND_INS:
        os.environ[versions.VARIABLE] = f"sqs-{name}"
        subprocess.run(["bash", "tests/brokers/install.sh"], cwd=CHECKOUT, check=True)
        with fixtures.running(aws.sqs()) as broker:
            found = asyncio.run(answers(broker.url, cases(name)))
        kept[name] = {"version": versions.exact(f"sqs-{name}"), "answers": found}
    RESULTS.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
