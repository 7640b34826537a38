"""Users of a Kafka that asks them for rights."""

import asyncio
import re
import time
import uuid
from collections.abc import Iterable
from typing import Any, Final

from confluent_kafka import admin
from tests.adapters.kafka_roles import Acl
from tests.brokers.kafka import KafkaBroker

PASSWORD: Final = "a-secret-of-its-own"

# The type stubs of the client library export half of this module.
_library: Final[Any] = admin


async def make_user(broker: KafkaBroker, rights: Iterable[Acl]) -> str:
    """Make a user with exactly these rights, and return its name. Its password is `PASSWORD`."""
    return await asyncio.to_thread(_make_user, broker, list(rights))


def _make_user(broker: KafkaBroker, rights: list[Acl]) -> str:
    name = f"user-{uuid.uuid4().hex[:10]}"
    client = _library.AdminClient({"bootstrap.servers": broker.address, "log_level": 0})
    secret = _library.ScramCredentialInfo(_library.ScramMechanism.SCRAM_SHA_256, 4096)
    made = [_library.UserScramCredentialUpsertion(name, secret, PASSWORD.encode())]
    for answer in client.alter_user_scram_credentials(made).values():
        answer.result()
    bindings = [_binding(f"User:{name}", acl) for acl in rights]
    if bindings:
        for answer in client.create_acls(bindings).values():
            answer.result()
    # The controller answers before the broker knows of it.
    deadline = time.monotonic() + 30
    while not _knows(client, name, len(bindings)):
        assert time.monotonic() < deadline, "the broker does not learn of the user"
        time.sleep(0.01)
    return name


def _knows(client: Any, name: str, count: int) -> bool:
    try:
        client.describe_user_scram_credentials([name])[name].result()
    except admin.KafkaException:
        return False
    everything = _library.AclBindingFilter(
        _library.ResourceType.ANY,
        None,
        _library.ResourcePatternType.ANY,
        f"User:{name}",
        None,
        _library.AclOperation.ANY,
        _library.AclPermissionType.ANY,
    )
    return len(client.describe_acls(everything).result()) == count


def _binding(principal: str, acl: Acl) -> Any:
    prefixed = acl.name.endswith("*")
    # Kafka calls the cluster a broker here.
    kind, name = ("BROKER", "kafka-cluster") if acl.object == "cluster" else (acl.object.upper(), acl.name)
    return _library.AclBinding(
        _library.ResourceType[kind],
        name.removesuffix("*"),
        _library.ResourcePatternType.PREFIXED if prefixed else _library.ResourcePatternType.LITERAL,
        principal,
        "*",
        _library.AclOperation[re.sub("(?<=[a-z])(?=[A-Z])", "_", acl.right).upper()],
        _library.AclPermissionType.ALLOW,
    )
