"""OpenTelemetry traces, when an operator wants them. Without ``configure`` nothing is imported, kept or sent.

Spans hold names, ids and counts: never a credential, a payload, a query string or a host that a customer talks to.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final, Literal, Protocol

TRACEPARENT: Final = "traceparent"  # W3C Trace Context
TRACES_PATH: Final = "/v1/traces"  # of OTLP over HTTP
SEND_S: Final = 2.0  # a collector that is away must not hold up the end of a process
Attributes = Mapping[str, str | int | float | bool]
Kind = Literal["internal", "server", "client"]


class Span(Protocol):
    """What a caller may still say while the work goes on."""

    def name(self, name: str) -> None: ...

    def note(self, attributes: Attributes) -> None: ...


class _Nothing:
    """The span of a process that is not traced."""

    def name(self, name: str) -> None:
        """Nobody listens."""

    def note(self, attributes: Attributes) -> None:
        """Nobody listens."""


_NOTHING: Final = nullcontext(_Nothing())
_provider: Any = None
_tracer: Any = None  # of the provider, once there is one


def is_installed() -> bool:
    """Whether the optional packages (``whago[tracing]``) are there."""
    try:
        return importlib.util.find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:
        return False


def configure(endpoint: str, part: str) -> None:
    """Spans go to ``endpoint`` (``http://collector:4318``) in the background, named ``whago-{part}``.

    Needs ``is_installed()``. What shall be sampled is said by OpenTelemetry's own ``OTEL_TRACES_SAMPLER``.
    """
    global _provider, _tracer
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    exporter = OTLPSpanExporter(endpoint=endpoint.rstrip("/") + TRACES_PATH, timeout=SEND_S)
    _provider = TracerProvider(resource=Resource.create({"service.name": f"whago-{part}"}), shutdown_on_exit=True)
    _provider.add_span_processor(BatchSpanProcessor(exporter))
    _tracer = _provider.get_tracer("whago")


def stop() -> None:
    """Send what is left, and trace no more."""
    global _provider, _tracer
    provider, _provider, _tracer = _provider, None, None
    if provider is not None:
        provider.shutdown()


def span(
    name: str, kind: Kind = "internal", parent: str | None = None, attributes: Attributes | None = None
) -> AbstractContextManager[Span]:
    """Around a piece of work; below the span that is open in this context, or below ``parent``, a traceparent header.

    An exception that leaves the block marks the span as failed, by its class and without its text.
    """
    return _NOTHING if _tracer is None else _spanning(_tracer, name, kind, parent, attributes)


def headers() -> dict[str, str]:
    """What tells another process under which span it is asked; empty when there is none."""
    if _tracer is None:
        return {}
    from opentelemetry.trace import get_current_span

    context = get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {TRACEPARENT: f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"}


def trace_id() -> str | None:
    """Of the span that is open here, as collectors show it."""
    told = headers().get(TRACEPARENT)
    return told.split("-")[1] if told else None


class _Open:
    def __init__(self, span: Any) -> None:
        self._span = span

    def name(self, name: str) -> None:
        self._span.update_name(name)

    def note(self, attributes: Attributes) -> None:
        self._span.set_attributes(dict(attributes))


@contextmanager
def _spanning(tracer: Any, name: str, kind: Kind, parent: str | None, attributes: Attributes | None) -> Iterator[Span]:
    from opentelemetry.trace import SpanKind, Status, StatusCode

    with tracer.start_as_current_span(
        name,
        context=_context(parent),
        kind=SpanKind[kind.upper()],
        attributes=attributes,
        record_exception=False,  # its text may hold what nobody should read
        set_status_on_exception=False,
    ) as opened:
        try:
            yield _Open(opened)
        except BaseException as error:
            opened.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise


def _context(parent: str | None) -> Any:
    if parent is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({TRACEPARENT: parent})
