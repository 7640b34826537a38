"""A moto that asks everybody for rights, and users with rights on it."""

import json
import urllib.request
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import boto3
import pytest
from tests.brokers import aws, versions
from tests.brokers.fixtures import running


@contextmanager
def strict_moto() -> Generator[dict[str, str]]:
    """Client options of an administrator, on a moto of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(aws.SNS_VARIABLE, raising=False)
        patch.setenv(versions.VARIABLE, "sns-moto")
        with running(aws.sns()) as broker:
            options = broker.client_options
            id, secret = make_user(boto3.client("iam", **options), "admin", ["*"])
            headers = {"Content-Type": "text/plain"}
            request = urllib.request.Request(f"{broker.url}/moto-api/reset-auth", b"0", headers, method="POST")
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
                answer.read()
            yield {**options, "aws_access_key_id": id, "aws_secret_access_key": secret}


def make_user(iam: Any, name: str, actions: Sequence[str]) -> tuple[str, str]:
    """An access key, and its secret, of a new user with rights to these actions."""
    statement = {"Effect": "Allow", "Action": [*actions], "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="rights", PolicyDocument=policy)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return key["AccessKeyId"], key["SecretAccessKey"]
