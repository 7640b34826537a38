"""One AWS service behind one client: settings, credentials, calls, and errors as brokerkit's errors.

Only this module uses aiobotocore. The library has no types, so it is loaded by name and is `Any` in here. What leaves this
module has a type.
"""

from __future__ import annotations

import asyncio
import importlib
import re
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from typing import Any, Final

import aiohttp

from brokerkit.adapters.api import (
    AccessDenied,
    BrokerkitError,
    Closed,
    ConfigError,
    Connection,
    ConnectionLost,
    NotFound,
    TlsFiles,
    Url,
    __version__,
    get_logger,
)

_library: Any = importlib.import_module("aiobotocore")
_botocore: Any = importlib.import_module("botocore.exceptions")
_parsers: Any = importlib.import_module("botocore.parsers")
_config: Any = importlib.import_module("aiobotocore.config")
_session: Any = importlib.import_module("aiobotocore.session")

logger = get_logger(__name__)

Answer = Mapping[str, Any]
"""The parsed response of one call."""

_POOL: Final = 1_024
"""The most connections of one client. Each long poll holds one, so this must exceed all pollers of all sources."""

_RENEW_EVERY: Final = 10.0
"""Seconds between two looks for other credentials, while AWS does not know those that are there."""

_SESSION_OPTIONS: Final = frozenset({"profile", "aws_session_token", "verify", "use_ssl"})
"""Settings that belong to the session or to `create_client`, not to its `Config`."""

_AIO_OPTIONS: Final = frozenset({"connector_args", "http_session_cls", "warm_up_loader_caches"})
_OWN_OPTIONS: Final = {
    "region_name": "write the region into the URL, as in sqs://eu-west-1/",
    "endpoint_url": "set endpoint",
    "aws_access_key_id": "write the access key into the URL as user name and password, percent-encoded",
    "aws_secret_access_key": "write the access key into the URL as user name and password, percent-encoded",
}
_PROBES: Final[Mapping[str, tuple[str, Mapping[str, object]]]] = {
    "sqs": ("list_queues", {"MaxResults": 1}),
    "sns": ("list_topics", {}),
}
"""The call that shows whether a service answers."""

_RIGHTS: Final = {"HeadBucket": "ListBucket", "HeadObject": "GetObject"}
"""IAM actions that are not called as the operation that needs them, beside those of batches."""

_NUMBERS: Final = frozenset(
    {
        "connect_timeout",
        "read_timeout",
        "max_pool_connections",
        "request_min_compression_size_bytes",
        "retries.max_attempts",
        "retries.total_max_attempts",
    }
)
_SWITCHES: Final = frozenset(
    {
        "disable_request_compression",
        "endpoint_discovery_enabled",
        "ignore_configured_endpoint_urls",
        "inject_host_prefix",
        "parameter_validation",
        "tcp_keepalive",
        "use_dualstack_endpoint",
        "use_fips_endpoint",
        "use_ssl",
        "warm_up_loader_caches",
    }
)
_TEXTS: Final = frozenset(
    {
        "account_id_endpoint_mode",
        "auth_scheme_preference",
        "aws_session_token",
        "client_cert",
        "defaults_mode",
        "profile",
        "request_checksum_calculation",
        "response_checksum_validation",
        "retries.mode",
        "sigv4a_signing_region_set",
        "user_agent",
        "user_agent_appid",
        "user_agent_extra",
    }
)
_WORDS: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}

_MISSING: Final = frozenset(
    {
        "404",  # The answer to a HEAD request has no body that could say more.
        "NoSuchBucket",
        "NoSuchKey",
        "NonExistentQueue",
        "NotFound",
        "NotFoundException",
        "QueueDoesNotExist",
    }
)
_DENIED: Final = frozenset(
    {
        "403",
        "AccessDenied",
        "AccessDeniedException",
        "AuthFailure",
        "AuthorizationError",
        "AuthorizationErrorException",
        "InvalidSecurity",
        "KMSAccessDenied",
        "KMSAccessDeniedException",
        "KmsAccessDenied",
        "NotAuthorized",
        "OptInRequired",
        "UnauthorizedOperation",
    }
)
_UNKNOWN_CALLER: Final = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "InvalidToken",
        "MissingAuthenticationToken",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_PASSING: Final = frozenset(
    {
        "ConcurrentAccessException",
        "InternalError",
        "InternalErrorException",
        "InternalFailure",
        "KMSThrottlingException",
        "KmsThrottled",
        "OverLimit",
        "QueueDeletedRecently",
        "RequestThrottled",
        "RequestTimeout",
        "ServiceUnavailable",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)


class BadCredentials(AccessDenied):
    """AWS does not know the caller. `AccessDenied` itself means that a known caller may not do this."""


class Refused(BrokerkitError):
    """AWS understood a call and refused it, for a reason that only the caller can put into words.

    Attributes:
        code: the service's name for the error.
    """

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class _Session:
    """A client of the library with its credentials, and the calls that are under way on it."""

    __slots__ = ("calls", "client", "credentials", "retired", "stack")

    def __init__(self, client: Any, credentials: Any, stack: AsyncExitStack) -> None:
        self.client = client
        self.credentials = credentials
        self.stack = stack
        self.calls = 0
        self.retired = False


class AwsClient:
    """Calls of one AWS service; safe for concurrent tasks.

    The library refreshes credentials that expire. If AWS does not know those that it has any more, they are looked up again,
    with a new client: somebody has rotated them in a file or in the environment.
    """

    def __init__(
        self, service: str, connection: Connection, *, probe: tuple[str, Mapping[str, object]] | None = None
    ) -> None:
        """Args: probe: the call, with its parameters, that shows whether the service answers; by default to list."""
        self._service = service
        self._probe_call = probe or _PROBES[service]
        self._url = connection.url
        self._endpoint = connection.endpoint
        self._connect_timeout = connection.connect_timeout
        self.region: str | None = _region(connection.url)
        # A proxy before an emulator may want a password, which stands in the address then.
        self._shown = str(connection.url) if self._endpoint is None else re.sub("[^/]*@", "***@", self._endpoint)
        if self._endpoint is not None and not re.match(r"https?://[^/]", self._endpoint):
            raise ConfigError(f"endpoint {self._shown!r} is not an http:// or https:// address")
        self._session_options, self._client_config = _settings(connection)
        self._session: _Session | None = None
        self._renewing = asyncio.Lock()
        self._renewed = -_RENEW_EVERY

    async def open(self) -> None:
        """Make the client, and call the service once: it must answer, and accept the credentials.

        Raises:
            ConnectionLost: nobody answered within the connect timeout.
            AccessDenied: there are no credentials, or the service does not know them.
            ConfigError: neither the URL nor the AWS configuration names a region.
        """
        try:
            async with asyncio.timeout(self._connect_timeout):
                self._session = await self._connect()
                await self._probe()
        except TimeoutError as error:
            await self.close()
            raise ConnectionLost(
                f"{self.where} did not answer within {self._connect_timeout:g} s; "
                "check the region, the endpoint and the network"
            ) from error
        except BaseException:
            await self.close()
            raise

    async def _connect(self) -> _Session:
        options = dict(self._session_options)
        credentials: Any = None
        stack = AsyncExitStack()
        try:
            session = _session.AioSession(profile=options.pop("profile", None))
            if self._url.user is not None:
                options["aws_access_key_id"] = self._url.user
                options["aws_secret_access_key"] = self._url.password
            elif (credentials := await session.get_credentials()) is None and self._endpoint is not None:
                # Emulators do not check signatures, but the client refuses to send a request without one.
                session.set_credentials("brokerkit", "brokerkit")
            region = self.region or session.get_config_variable("region")
            if region is None and self._endpoint is not None:
                region = "us-east-1"
            self.region = region
            client = await stack.enter_async_context(
                session.create_client(
                    self._service,
                    region_name=region,
                    endpoint_url=self._endpoint,
                    config=self._client_config,
                    **options,
                )
            )
        except LIBRARY_ERRORS as error:
            raise translated(error, self.where) from error
        return _Session(client, credentials, stack)

    async def _probe(self) -> None:
        operation, parameters = self._probe_call
        try:
            await self.call(operation, **parameters)
        except BadCredentials:
            raise
        except AccessDenied:
            pass  # A known caller may lack the right to list, and still have every right that it needs.

    async def call(self, operation: str, /, **parameters: object) -> Answer:
        """Call one operation, named as in boto3.

        Raises:
            ConnectionLost: no answer, or one that says to try again later.
            AccessDenied: the caller is not known, or may not do this.
            NotFound: the queue or topic does not exist.
            Refused: anything else that the service refuses.
            Closed: the client is not open.
        """
        session = self._session
        if session is None:
            raise Closed(f"the connection to {self.where} is not open")
        try:
            return await self._called(session, operation, parameters)
        except BadCredentials:
            if (renewed := await self._renew(session)) is None:
                raise
        return await self._called(renewed, operation, parameters)

    async def _called(self, session: _Session, operation: str, parameters: Mapping[str, object]) -> Answer:
        session.calls += 1
        try:
            answer: Answer = await getattr(session.client, operation)(**parameters)
        except _botocore.ClientError as error:
            if "SignatureDoesNotMatch" in _names(error):
                # The text of this error repeats the signed request, including a session token. It must not be kept.
                raise translated(error, self.where) from None
            found = translated(error, self.where)
            if isinstance(found, AccessDenied) and not isinstance(found, BadCredentials):
                found = AccessDenied(f"{found}; {await self._needs(session, error.operation_name, parameters)}")
            raise found from error
        except _botocore.CredentialRetrievalError as error:
            # There were credentials when this client was opened, so their provider is away for a while.
            raise ConnectionLost(f"the credentials for {self.where} cannot be refreshed: {error}") from error
        except LIBRARY_ERRORS as error:
            raise translated(error, self.where) from error
        finally:
            session.calls -= 1
            if session.retired and not session.calls:
                await session.stack.aclose()
        return answer

    async def _needs(self, session: _Session, operation: str, parameters: Mapping[str, object]) -> str:
        """Who lacks which right on what. AWS often says that too, but not always, and emulators seldom."""
        key = self._url.user
        if key is None and session.credentials is not None:
            with suppress(*LIBRARY_ERRORS):  # they expired just now
                key = (await session.credentials.get_frozen_credentials()).access_key
        who = "the caller" if key is None else f"access key {key!r}"
        what = _object(parameters)
        return f"{who} needs the right {right(self._service, operation)}{what and f' on {what}'}"

    async def _renew(self, session: _Session) -> _Session | None:
        """The session to go on with after AWS did not know the credentials of this one; None if there are no others."""
        if self._url.user is not None:
            return None  # They are in the URL, and so stay as they are.
        async with self._renewing:
            if self._session is not session:
                return self._session
            if (now := time.monotonic()) < self._renewed + _RENEW_EVERY:
                return None
            self._renewed = now
            self._session = await self._connect()
            # Long polls are still under way on the old one: it ends with the last of them.
            session.retired = True
            if not session.calls:
                await session.stack.aclose()
            logger.info("%s did not know the credentials; they were looked up again", self.where)
            return self._session

    @property
    def where(self) -> str:
        """The service and its address, for messages."""
        return f"{self._service.upper()} at {self._shown}"

    async def close(self) -> None:
        """Free the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.stack.aclose()

    def __repr__(self) -> str:
        return f"<AwsClient {self.where}: {'closed' if self._session is None else 'open'}>"


LIBRARY_ERRORS: Final[tuple[type[Exception], ...]] = (
    _botocore.BotoCoreError,
    _botocore.ClientError,
    _botocore.HTTPClientError,
    _parsers.ResponseParserError,
    aiohttp.ClientError,
    OSError,
)


def translated(error: Exception, where: str) -> BrokerkitError:
    """The brokerkit error for an error of the client library."""
    if isinstance(error, _botocore.ClientError):
        return _answered(error, where)
    if isinstance(
        error,
        (_botocore.NoCredentialsError, _botocore.PartialCredentialsError, _botocore.CredentialRetrievalError),
    ):
        return BadCredentials(
            f"no AWS credentials for {where}: put an access key into the URL, or configure the AWS default chain"
        )
    if isinstance(error, (_botocore.NoRegionError, _botocore.InvalidRegionError)):
        return ConfigError(f"{where} needs a region: write sqs://eu-west-1/, or set AWS_DEFAULT_REGION")
    if isinstance(error, (_botocore.HTTPClientError, _botocore.ConnectionError, aiohttp.ClientError, OSError)):
        return ConnectionLost(f"{where} cannot be reached ({type(error).__name__}); check the endpoint and the network")
    if isinstance(error, _parsers.ResponseParserError):
        # A proxy or a load balancer answers in HTML while the service behind it is away. SNS and S3 speak XML.
        return ConnectionLost(
            f"{where} gave an answer that is not of its protocol; check the endpoint and what is before it"
        )
    if isinstance(error, (_botocore.ProfileNotFound, _botocore.UnknownServiceError, _botocore.DataNotFoundError)):
        return ConfigError(f"{where}: {error}")
    return Refused(f"the request to {where} was not sent: {error}", code=type(error).__name__)


def is_denial(code: str) -> bool:
    """Whether the code of a failed entry says that the caller has no right to this."""
    return code.rpartition(".")[2] in _DENIED


def _answered(error: Any, where: str) -> BrokerkitError:
    names = _names(error)
    said = str(error.response.get("Error", {}).get("Message", "")).partition("\n")[0]
    text = f"{where} refused {error.operation_name}: {said or ', '.join(sorted(names))}"
    if names & _UNKNOWN_CALLER:
        return BadCredentials(f"{text}; check the access key, its secret and the clock")
    if names & _DENIED:
        return AccessDenied(text)
    if names & _MISSING:
        return NotFound(f"{text} (or the caller may not see it)")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if names & _PASSING or status >= 500:
        return ConnectionLost(f"{text}; trying again may help")
    code = str(error.response.get("Error", {}).get("Code", type(error).__name__))
    return Refused(text, code=code)


def _object(parameters: Mapping[str, object]) -> str:
    """What a call is about, as a user knows it; "" if it is about no single thing."""
    match parameters:
        case {"QueueUrl": url}:
            return f"queue {str(url).rpartition('/')[2]!r}"
        case {"QueueName": name}:
            return f"queue {name!r}"
        case {"TopicArn": name} | {"Name": name}:
            return f"topic {name!r}"
        case {"SubscriptionArn": name}:
            return f"subscription {name!r}"
        case {"Bucket": bucket, "Key": key}:
            return f"s3://{bucket}/{key}"
        case {"Bucket": bucket}:
            return f"s3://{bucket}"
        case _:
            return ""


def right(service: str, operation: str) -> str:
    """The IAM action that an operation needs: ``sqs:SendMessage``.

    https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsqs.html, and those of SNS and S3.
    """
    return f"{service.partition(' ')[0].lower()}:{_RIGHTS.get(operation, operation.removesuffix('Batch'))}"


def _names(error: Any) -> set[str]:
    """All the names one error goes by.

    AWS answers SQS calls with the code of its old protocol (``AWS.SimpleQueueService.NonExistentQueue``) and with the code
    of its model. ElasticMQ sends only the latter. The class of the error has the model's name, if the model knows the error.
    """
    details = error.response.get("Error", {})
    codes = (details.get("Code"), details.get("QueryErrorCode"), type(error).__name__)
    return {str(code).rpartition(".")[2].rpartition("#")[2] for code in codes if code}


def _region(url: Url) -> str | None:
    if url.path:
        raise ConfigError(f"{url}: the URL ends with the region; name the queue as the topic, not in the path")
    if len(url.hosts) > 1:
        raise ConfigError(f"{url}: exactly one region is needed")
    if (url.user is None) != (url.password is None):
        raise ConfigError(f"{url}: an access key needs both parts, sqs://KEY_ID:SECRET@region/, percent-encoded")
    if not url.hosts:
        return None
    region = url.hosts[0]
    if not re.fullmatch(r"[a-z0-9-]+", region):
        raise ConfigError(
            f"{url}: {region!r} is not an AWS region such as eu-west-1; the address of an emulator goes into endpoint"
        )
    return region


def _settings(connection: Connection) -> tuple[dict[str, object], Any]:
    """Client options taken apart into those of the session and the library's `AioConfig`."""
    known = frozenset(_config.AioConfig.OPTION_DEFAULTS) | _SESSION_OPTIONS | _AIO_OPTIONS
    session: dict[str, object] = {}
    retries: dict[str, object] = {}
    config: dict[str, object] = {
        "connect_timeout": connection.connect_timeout,
        "max_pool_connections": _POOL,
        # brokerkit makes and checks what it sends. A second check would take a fifth of the time of a publish.
        "parameter_validation": False,
    }
    for name, value in connection.options.items():
        if name in _OWN_OPTIONS:
            raise ConfigError(f"option {name!r} is not passed on; {_OWN_OPTIONS[name]}")
        stem, _, part = name.partition(".")
        if stem not in known or (part and name not in _NUMBERS | _TEXTS):
            raise ConfigError(
                f"aiobotocore knows no option {name!r}; it takes {', '.join(sorted(known - _OWN_OPTIONS.keys()))}"
            )
        converted = _converted(name, value) if isinstance(value, str) else value
        if name in _SESSION_OPTIONS:
            session[name] = converted
        elif part:
            retries[part] = converted
        else:
            config[name] = converted
    if isinstance(bundle := session.get("verify"), str):
        TlsFiles(cafile=bundle).check(f"{connection.url}: option 'verify'")
    if not any(name.startswith("user_agent") for name in config):
        # Otherwise the library builds its own for each call, which is a twentieth of the call's cost.
        config["user_agent"] = f"brokerkit/{__version__} aiobotocore/{_library.__version__}"
    if "retries" not in config:
        config["retries"] = {"mode": "standard", "max_attempts": 5} | retries
    elif retries:
        raise ConfigError("give the option 'retries' either as a whole or in parts ('retries.mode'), not both")
    try:
        return session, _config.AioConfig(**config)
    except (_botocore.BotoCoreError, TypeError, ValueError) as error:
        raise ConfigError(f"aiobotocore refuses its options: {error}") from error


def _converted(name: str, value: str) -> object:
    """A value from a URL or the environment as the type that the library wants."""
    if name in _TEXTS:
        return value
    if name in _NUMBERS:
        try:
            return float(value) if "timeout" in name else int(value)
        except ValueError:
            raise ConfigError(f"option {name!r} must be a number, got {value!r}") from None
    if name in _SWITCHES:
        if value.lower() not in _WORDS:
            raise ConfigError(f"option {name!r} must be true or false, got {value!r}")
        return _WORDS[value.lower()]
    if name == "verify":
        return _WORDS.get(value.lower(), value)  # or the path of a certificate bundle
    raise ConfigError(f"option {name!r} is not a single value; give it in a file or in code")
