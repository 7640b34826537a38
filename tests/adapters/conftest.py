"""Fixtures that several modules of these tests share."""

from collections.abc import Iterator

import pytest
from tests.adapters import aws_account


@pytest.fixture(scope="module")
def strict_moto(aws_environment: None) -> Iterator[dict[str, str]]:
    """Client options of an administrator, on a moto that asks everybody for rights."""
    with aws_account.strict_moto() as options:
        yield options
