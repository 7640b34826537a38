"""Credentials from where AWS's default chain finds them, on a moto that checks them; also such as expire or are rotated."""

import asyncio
import json
import sys
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from tests.adapters.aws_account import make_user
from tests.brokers.aws import AwsBroker
from tests.every_broker import until

from brokerkit import Bus, Message
from brokerkit._errors import AccessDenied, ConnectionLost
from brokerkit.adapters.api import Connection, Url
from brokerkit.adapters.aws import _client, _source
from brokerkit.adapters.aws._client import AwsClient

ROLE = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}],
}


class Chain:
    """The default chain of this process: files that a test writes, and no variable that has a key."""

    def __init__(self, options: dict[str, str], folder: Path) -> None:
        self.endpoint = options["endpoint_url"]
        self.folder = folder
        self.iam = boto3.client("iam", **options)
        self.sqs = boto3.client("sqs", **options)
        self.topic = f"t{uuid.uuid4().hex[:10]}"
        self.sqs.create_queue(QueueName=self.topic)

    def user(self) -> tuple[str, str]:
        return make_user(self.iam, f"u{uuid.uuid4().hex[:10]}", ["sqs:*", "sns:*", "sts:*"])

    def forget(self, key: str) -> None:
        """Delete an access key: AWS does not know it any more."""
        for user in self.iam.list_users()["Users"]:
            for found in self.iam.list_access_keys(UserName=user["UserName"])["AccessKeyMetadata"]:
                if found["AccessKeyId"] == key:
                    self.iam.delete_access_key(UserName=user["UserName"], AccessKeyId=key)

    def write(self, config: str, credentials: str = "") -> None:
        (self.folder / "config").write_text(config)
        (self.folder / "credentials").write_text(credentials)

    def bus(self, url: str = "sqs://us-east-1/", **settings: Any) -> Bus:
        usual: dict[str, Any] = {
            "endpoint": self.endpoint,
            "topic": self.topic,
            "group": "wallet",
            "format": "json",
            "name_from": "header:event",
            "unknown": "ack",
            "provision": "group",
        }
        return Bus(url, **{**usual, **settings})

    async def goes_round(self, bus: Bus, between: Callable[[], object] = lambda: None) -> None:
        """Publish and handle two messages; something happens between them."""
        handled: list[str | None] = []

        @bus.on("*")
        async def _(event: Any, message: Message) -> None:
            handled.append(message.id)

        async with bus, bus.serving():
            for number in ("1", "2"):
                await bus.publish(Message("Paid", b"{}", id=number, headers={"event": "Paid"}))
                await until(lambda number=number: number in handled)  # type: ignore[misc]
                await asyncio.to_thread(between)


@pytest.fixture
def chain(strict_moto: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Chain:
    monkeypatch.setattr(_source, "_LONG_POLL", 1)
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    # The roles of a profile and of a web identity are asked for at STS, which has no endpoint in the URL.
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", strict_moto["endpoint_url"])
    return Chain(strict_moto, tmp_path)


async def test_a_profile_has_the_key(chain: Chain) -> None:
    id, secret = chain.user()
    chain.write("[profile games]\nregion = us-east-1\n", f"[games]\n{_key(id, secret)}")
    await chain.goes_round(chain.bus("sqs:///", options={"profile": "games"}))


async def test_a_profile_names_a_role(chain: Chain) -> None:
    id, secret = chain.user()
    arn = _role(chain.iam)
    config = f"[profile games]\nrole_arn = {arn}\nsource_profile = base\nregion = us-east-1\n"
    chain.write(config, f"[base]\n{_key(id, secret)}")
    await chain.goes_round(chain.bus(options={"profile": "games"}))


async def test_a_web_identity_has_a_role(sns_broker: AwsBroker, chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a pod of EKS. Not on the moto that checks: it fails over a request that is not signed, as this one is not."""
    (chain.folder / "token").write_text("token-of-the-cluster")
    chain.write("")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sns_broker.url)
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(chain.folder / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", _role(boto3.client("iam", **sns_broker.client_options)))
    client = AwsClient("sqs", Connection(url=Url.parse("sqs://us-east-1/"), endpoint=sns_broker.url))
    await client.open()
    assert client._session is not None
    assert client._session.client._get_credentials().method == "assume-role-with-web-identity"
    await client.close()


async def test_credentials_that_expire_are_refreshed_while_a_source_reads(chain: Chain) -> None:
    """A program of the user's gives them, as with SSO or a vault. The old key is gone when the new one is there."""
    keys = [chain.user(), chain.user()]
    given = chain.folder / "given.json"
    process = chain.folder / "give.py"
    process.write_text(f"print(open({str(given)!r}).read())")
    chain.write(f"[profile games]\nregion = us-east-1\ncredential_process = {sys.executable} {process}\n")
    given.write_text(_given(*keys[0]))

    def rotate() -> None:
        given.write_text(_given(*keys[1]))
        chain.forget(keys[0][0])

    await chain.goes_round(chain.bus(options={"profile": "games"}), rotate)


async def test_a_program_that_cannot_refresh_credentials_for_a_while_is_an_outage(chain: Chain) -> None:
    key = chain.user()
    given = chain.folder / "given.json"
    process = chain.folder / "give.py"
    process.write_text(f"print(open({str(given)!r}).read())")
    chain.write(f"[profile games]\nregion = us-east-1\ncredential_process = {sys.executable} {process}\n")
    given.write_text(_given(*key))
    async with chain.bus(options={"profile": "games"}, publish_timeout=4.0) as bus:
        given.unlink()
        with pytest.raises(ConnectionLost, match="cannot be refreshed"):
            await bus.publish(Message("Paid", b"{}", headers={"event": "Paid"}))
        given.write_text(_given(*key))
        await bus.publish(Message("Paid", b"{}", headers={"event": "Paid"}))


async def test_a_key_that_is_rotated_in_a_file_is_read_again(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_client, "_RENEW_EVERY", 0.0)
    keys = [chain.user(), chain.user()]
    sns = boto3.client("sns", **_options(chain.endpoint, *keys[0]))
    sns.create_topic(Name=chain.topic)
    chain.write("", f"[default]\n{_key(*keys[0])}")
    # SNS, because moto tells who is not known only in answers to its older protocol.
    async with chain.bus("sns://us-east-1/") as bus:
        await bus.publish(Message("Paid", b"{}", headers={"event": "Paid"}))
        chain.forget(keys[0][0])
        with pytest.raises(AccessDenied):
            await bus.publish(Message("Paid", b"{}", headers={"event": "Paid"}))
        chain.write("", f"[default]\n{_key(*keys[1])}")
        await bus.publish(Message("Paid", b"{}", headers={"event": "Paid"}))


async def test_a_key_in_the_url_that_aws_does_not_know_is_refused_and_not_shown(chain: Chain) -> None:
    id, _ = chain.user()
    chain.forget(id)
    boto3.client("sns", **_options(chain.endpoint, *chain.user())).create_topic(Name=chain.topic)
    with pytest.raises(AccessDenied, match="check the access key") as refused:
        async with chain.bus(f"sns://{id}:very-secret@us-east-1/"):
            pass
    assert "very-secret" not in str(refused.value)


def _key(id: str, secret: str) -> str:
    return f"aws_access_key_id = {id}\naws_secret_access_key = {secret}\n"


def _options(endpoint: str, id: str, secret: str) -> dict[str, str]:
    return {
        "endpoint_url": endpoint,
        "region_name": "us-east-1",
        "aws_access_key_id": id,
        "aws_secret_access_key": secret,
    }


def _given(id: str, secret: str) -> str:
    """What a credential process prints: a key that the client has to refresh before its next use."""
    soon = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
    return json.dumps({"Version": 1, "AccessKeyId": id, "SecretAccessKey": secret, "Expiration": soon})


def _role(iam: Any) -> str:
    name = f"r{uuid.uuid4().hex[:10]}"
    arn: str = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(ROLE))["Role"]["Arn"]
    statement = {"Effect": "Allow", "Action": ["sqs:*"], "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_role_policy(RoleName=name, PolicyName="rights", PolicyDocument=policy)
    return arn
