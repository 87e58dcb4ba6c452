"""Asks the Node bridge to run chips. Synchronous, safe to share between threads, every call idempotent."""

from __future__ import annotations

from dataclasses import asdict
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar
from uuid import UUID

import httpx
import structlog
from pydantic import BaseModel, ValidationError

from whago.bridge.wire import BridgeChip, BridgeChips, BridgePairing
from whago.domain.rules.thrift import Thrift
from whago.errors import WhagoError
from whago.kit import tracing

# The bridge is on this machine or beside it: a connection takes milliseconds or does not come about.
CONNECT_TIMEOUT_S: Final = 2.0
# The slowest call is a delete with logout: 5 s to tell WhatsApp, 2 s for a polite close, then the backend is told.
ANSWER_TIMEOUT_S: Final = 15.0
# Node closes an idle connection after 5 s; one that we drop sooner is never closed under a request.
KEEP_ALIVE_S: Final = 2.0
# Web threads that may talk to the bridge at the same time.
MAX_CONNECTIONS: Final = 20

# Answers that say "not now" rather than "not like this".
_AWAY: Final = frozenset({"bridge_stopping", "internal", "backend_away"})

USUAL: Final = Thrift()

Shape = TypeVar("Shape", bound=BaseModel)


class BridgeClient:
    """Raises ``WhagoError("bridge_unavailable")`` when the bridge does not answer or is stopping, and
    ``WhagoError("bridge_refused", reason=…)`` when it refuses; ``reason`` is one of ``other_proxy``, ``bridge_full``,
    ``not_running``, ``not_pairing``, ``runs_elsewhere``, ``unknown_chip``, `invalid_body`, ``unauthorized``. No error
    carries a proxy URL.
    """

    def __init__(self, base_url: str, secret: str) -> None:
        self._http = httpx.Client(
            base_url=base_url,
            headers={"Authorization": f"Bearer {secret}"},
            timeout=httpx.Timeout(ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            limits=httpx.Limits(max_connections=MAX_CONNECTIONS, keepalive_expiry=KEEP_ALIVE_S),
            trust_env=False,  # a machine's HTTP_PROXY must not see the secret
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def create(
        self,
        chip_id: UUID,
        proxy_url: str,
        pairing: Literal["qr", "code"] = "qr",
        phone: str | None = None,
        thrift: Thrift = USUAL,
    ) -> BridgeChip:
        """Start the chip, or make sure that it runs. A chip that waits at a closed gateway tries again at once.

        ``proxy_url`` is the gateway with the chip's own credential. ``phone`` (digits with country code) is needed
        for ``pairing="code"``. Of ``thrift`` only what differs from the default is sent.
        """
        body = {
            "chip_id": str(chip_id),
            "proxy_url": proxy_url,
            "pairing": pairing,
            "phone": phone,
            **thrift.kept(),
        }
        return self._chip(self._call("POST", "/sessions/create", body))

    def get(self, chip_id: UUID) -> BridgeChip | None:
        """None when this bridge process has never been asked to run the chip."""
        answer = self._find("GET", f"/sessions/{chip_id}")
        return None if answer is None else self._chip(answer)

    def list(self) -> BridgeChips:
        """Every chip of this bridge process, to reconcile after either side restarted."""
        return _parsed(BridgeChips, self._call("GET", "/sessions"))

    def qr(self, chip_id: UUID) -> BridgePairing | None:
        """What to scan or to type in right now; None when there is nothing."""
        answer = self._find("GET", f"/sessions/{chip_id}/qr")
        return None if answer is None else _parsed(BridgePairing, answer)

    def pairing_code(self, chip_id: UUID, phone: str) -> BridgePairing:
        """Change from QR code to a pairing code for ``phone``, while the chip waits to be paired."""
        return _parsed(BridgePairing, self._call("POST", f"/sessions/{chip_id}/pairing-code", {"phone": phone}))

    def use_proxy(self, chip_id: UUID, proxy_url: str) -> BridgeChip:
        """Reconnect a running chip at once, with another credential of the gateway or to leave its backoff."""
        return self._chip(self._call("POST", f"/sessions/{chip_id}/proxy", {"proxy_url": proxy_url}))

    def spare(self, chip_id: UUID, thrift: Thrift) -> BridgeChip | None:
        """Other thrift from now on; a chip that is connected reconnects. None when the bridge does not know it."""
        answer = self._find("POST", f"/sessions/{chip_id}/thrift", asdict(thrift))
        return None if answer is None else self._chip(answer)

    def stop(self, chip_id: UUID) -> BridgeChip | None:
        """End the connection and keep the pairing. None when the bridge does not know the chip: it is stopped then."""
        answer = self._find("POST", f"/sessions/{chip_id}/stop")
        return None if answer is None else self._chip(answer)

    def logout(self, chip_id: UUID) -> bool:
        """Unlink the phone and forget the pairing; the chip stays, logged out. Whether WhatsApp was told."""
        answer = self._call("POST", f"/sessions/{chip_id}/logout")
        return bool(answer.get("unlinked"))

    def delete(self, chip_id: UUID, logout: bool) -> bool:
        """Remove the chip and its WhatsApp credentials for good.

        With ``logout`` an open chip is unlinked from its phone first; the answer says whether that was told to
        WhatsApp. Deleting an unknown chip is no error.
        """
        answer = self._call("DELETE", f"/sessions/{chip_id}?logout={'true' if logout else 'false'}")
        return bool(answer.get("unlinked"))

    def _chip(self, answer: dict[str, Any]) -> BridgeChip:
        return _parsed(BridgeChip, answer)

    def _find(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any] | None:
        """The answer, or None for 404."""
        response = self._send(method, path, body)
        return None if response.status_code == httpx.codes.NOT_FOUND else _checked(response)

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        return _checked(self._send(method, path, body))

    def _send(self, method: str, path: str, body: dict[str, Any] | None) -> httpx.Response:
        try:
            with tracing.span(f"bridge {method}", "client"):
                return self._http.request(method, path, json=body, headers=_origin())
        except httpx.TransportError as error:
            raise WhagoError("bridge_unavailable") from error


def _origin() -> dict[str, str]:
    """Under which request of ours, and which span, the bridge is asked: both stand in its log, too."""
    request_id = structlog.contextvars.get_contextvars().get("request_id")
    return {**tracing.headers(), **({"X-Request-ID": str(request_id)} if request_id else {})}


def _checked(response: httpx.Response) -> dict[str, Any]:
    answer = _json(response)
    if response.is_success:
        return answer
    reason = str(answer.get("error", {}).get("code", response.status_code))
    if reason in _AWAY:
        raise WhagoError("bridge_unavailable")
    raise WhagoError("bridge_refused", reason=reason)


def _json(response: httpx.Response) -> dict[str, Any]:
    """Something that is not our bridge may listen at its address: that is no bridge."""
    try:
        answer = response.json()
    except ValueError as error:
        raise WhagoError("bridge_unavailable") from error
    if not isinstance(answer, dict):
        raise WhagoError("bridge_unavailable")
    return answer


def _parsed(shape: type[Shape], answer: dict[str, Any]) -> Shape:
    try:
        return shape.model_validate(answer)
    except ValidationError as error:
        raise WhagoError("bridge_unavailable") from error
