"""Traces of this process, when ``WHAGO_OTLP_ENDPOINT`` names a collector."""

from __future__ import annotations

from whago.errors import SettingsError
from whago.kit import tracing
from whago.settings import Settings


def trace(settings: Settings, part: str) -> None:
    """Call once per process, before it works. Raises SettingsError when the optional packages are missing."""
    if settings.otlp_endpoint is None:
        return
    if not tracing.is_installed():
        raise SettingsError("WHAGO_OTLP_ENDPOINT needs the packages of whago[tracing]: run uv sync --extra tracing.")
    tracing.configure(settings.otlp_endpoint, part)
