"""Switches traces on."""

from __future__ import annotations

from typing import Final

from brokerkit._bus import Bus
from brokerkit._config._settings import ConnectionSettings
from brokerkit._errors import ConfigError, MissingExtra
from brokerkit._metrics import _instruments as names
from brokerkit._metrics._instruments import SCHEMA_URL, system_of
from brokerkit._url import Url
from brokerkit._version import __version__

try:
    from opentelemetry.trace import TracerProvider, get_tracer

    from brokerkit.tracing._process import ProcessSpans
    from brokerkit.tracing._publish import PublishSpans
except ModuleNotFoundError as error:
    raise MissingExtra(
        "traces need opentelemetry-api, which is not installed: pip install 'brokerkit-sdk[otel]'"
    ) from error

_WITH_HOSTS: Final = ("kafka", "rabbitmq", "redis")


def instrument(
    bus: Bus, *, tracer_provider: TracerProvider | None = None, same_trace: bool = True, create_spans: bool = True
) -> None:
    """Trace the messages of a bus with OpenTelemetry; see docs/observability.md for the spans and their attributes.

    Each publish has a span, whose context goes along in the headers ``traceparent`` and ``tracestate``. Each attempt to
    handle a message has a span, which is current in the handler and links to the sender's.

    Args:
        bus: whose messages they are. It must not be open yet.
        tracer_provider: by default the global one.
        same_trace: the sender's span is also the parent of the handler's, so that both are in one trace. If false, each
            attempt begins a trace of its own, and only the link leads to the sender.
        create_spans: with `Bus.publish_many`, each message has a span of its own, beside that of the call. If false, all
            messages carry the context of the call's span.

    Raises:
        ConfigError: the bus is open.
    """
    runtime = bus.runtime
    if runtime.is_open:
        raise ConfigError("this bus is open already: add traces before it is opened")
    tracer = get_tracer("brokerkit", __version__, tracer_provider, SCHEMA_URL)
    for name, source in runtime.settings.sources.items():
        shared = {**_about(source), names.SOURCE: name}
        if source.group:
            shared[names.GROUP] = source.group
        topics = source.topic or source.queue
        runtime.figures.source(name).spans = ProcessSpans(tracer, topics, shared, same_trace=same_trace)
    for name, target in runtime.settings.targets.items():
        promises = runtime.adapter_for(target).capabilities(target.topic or "")
        runtime.figures.target(name).spans = PublishSpans(
            tracer,
            target.topic or "",
            {**_about(target), names.TARGET: name},
            propagates=target.propagate and promises.metadata,
            create_spans=create_spans,
        )


def _about(settings: ConnectionSettings) -> dict[str, str | int]:
    """Return the attributes of all spans of a connection."""
    url = Url.parse(settings.url.get_secret_value())
    found: dict[str, str | int] = {names.SYSTEM: system_of(url.scheme)}
    # Of several hosts, nobody knows which one answers; the host of an AWS URL is a region.
    if len(url.hosts) == 1 and found[names.SYSTEM] in _WITH_HOSTS:
        host, _, port = url.hosts[0].rpartition(":")
        if port.isdecimal():
            found[names.PORT] = int(port)
        else:
            host = url.hosts[0]
        found[names.ADDRESS] = host.strip("[]")
    return found
