"""One tunnel, from the upstream's consent to its end: moves, counts, half-closes, stops."""

from __future__ import annotations

import socket
from typing import Final, Protocol

import structlog

from whago.domain.rules.egress import Allowed
from whago.gateway.closing import close_client, close_upstream
from whago.gateway.config import LINGER_S
from whago.gateway.control import ChipPass
from whago.gateway.counters import CounterFileFull
from whago.gateway.engine import IN, OUT
from whago.gateway.flow import DOWNWARDS, UPWARDS, Flow
from whago.gateway.leases import Account
from whago.gateway.plane import Plane
from whago.gateway.segments import NOTHING, Counts, Segment
from whago.gateway.sockets import notice_silence

log = structlog.get_logger()

CLOSED: Final = "closed"


class Owner(Protocol):
    """Who counts the chip's connections."""

    def leave(self, member: Tunnel) -> None: ...


class Tunnel:
    """``moved_at``: monotonic seconds of the last byte. ``chip_pass`` may be replaced by one with another price."""

    __slots__ = (
        "_client", "_closing", "_owner", "_past", "_started_at", "_target", "_totals", "_tunnel_id", "_upstream",
        "account", "bucket", "chip_pass", "down", "moved_at", "plane", "segment", "up",
    )  # fmt: skip

    def __init__(
        self,
        plane: Plane,
        owner: Owner,
        chip_pass: ChipPass,
        account: Account,
        segment: Segment,
        tunnel_id: int,
        target: Allowed,
        client: socket.SocketType,
        upstream: socket.SocketType,
    ) -> None:
        self.plane = plane
        self.chip_pass = chip_pass
        self.account = account
        self.segment = segment
        self.bucket = 0
        self.moved_at = self._started_at = plane.engine.now
        self._owner = owner
        self._target = target
        self._client, self._upstream = client, upstream
        self._tunnel_id = tunnel_id
        self._closing = ""
        self._past: set[object] | None = None  # keys of earlier segments, once there are any
        self._totals = NOTHING  # what those counted
        self.up = Flow(self, client, upstream, UPWARDS)
        self.down = Flow(self, upstream, client, DOWNWARDS)
        self.up.other, self.down.other = self.down, self.up

    def start(self, to_client: bytes, to_upstream: bytes) -> None:
        """``to_client``: what the client's socket has not taken of the answer and of what came behind; counted already.

        ``to_upstream``: what came behind the client's handshake; not counted yet.
        """
        plane = self.plane
        engine, tally = plane.engine, plane.tally
        tally.open_tunnels += 1
        tally.tunnels_started += 1
        client = self._client.fileno()
        engine.hand_over(client, self.up)
        engine.hand_over(self._upstream.fileno(), self.down)
        engine.wheel.set(self, engine.now + plane.limits.first_look_s)
        if to_client:
            self.down.begin_with(to_client)
            self.down.flush()
        if to_upstream and not self._closing:
            self.up.begin_with(to_upstream)
            self.up.flush()
        if to_client or to_upstream or engine.masks[client] != IN:  # else both wait for input, as they should
            self.rearm()

    # Called by the flows as bytes move.

    def charge(self, cell: int, count: int) -> None:
        """``count`` bytes, at most ``account.left``, are on the upstream's wire."""
        plane = self.plane
        plane.charge(self.account, self.segment, cell, count)
        self.moved_at = plane.engine.now

    def uncharge(self, cell: int, count: int) -> None:
        """The kernel did not take them: in the same turn as ``charge`` only."""
        self.plane.uncharge(self.account, self.segment, cell, count)

    def rearm(self) -> None:
        """Wait for exactly what the flows want next."""
        if self._closing == CLOSED:
            return
        engine = self.plane.engine
        masks, up, down = engine.masks, self.up, self.down
        client, upstream = self._client.fileno(), self._upstream.fileno()
        mask = (IN if up.reading else 0) | (OUT if down.blocked else 0)
        if masks[client] != mask:
            engine.set_mask(client, mask)
        mask = (IN if down.reading else 0) | (OUT if up.blocked else 0)
        if masks[upstream] != mask:
            engine.set_mask(upstream, mask)

    def starve(self) -> None:
        """The lease is empty: stop until there is more."""
        if self._closing:
            return
        self.rearm()
        self.plane.book.starve(self.account, self)

    def half_closed(self) -> None:
        """One direction is through."""
        if self._closing:
            self._finish(self._closing)
        elif self.up.done and self.down.done:
            self.end(CLOSED)
        else:
            self.rearm()

    def next_segment(self) -> bool:
        """The hour or the price has changed: count on in a new segment. False: there was none, the tunnel has ended."""
        old, plane = self.segment, self.plane
        self._remember(old)
        key: object = (self._tunnel_id, plane.calendar.hour, self.chip_pass.price_id)
        if self._past is not None and key in self._past:  # the clock went back: a key is never counted on twice
            self._tunnel_id = plane.segments.new_tunnel_id()
        try:
            self.segment = plane.segments.open(self._tunnel_id, self.chip_pass)
        except CounterFileFull as error:
            log.error("counters.full", reason=str(error))
            self.end("counters_full")
            return False
        self._totals = _plus(self._totals, old)
        old.finish()
        if self.account.month != plane.calendar.month:
            self._change_month()
        return True

    # Called from outside.

    def lease_ready(self) -> None:
        if not self._closing:
            self.up.resume()
            self.down.resume()
            self.rearm()

    def lease_refused(self, reason: str) -> None:
        self.cut(reason)

    def reprice(self, chip_pass: ChipPass) -> None:
        """The same assignment at another price: the next byte opens a new segment."""
        self.chip_pass = chip_pass
        if self.segment.price_id != chip_pass.price_id:
            self.segment.epoch = -1

    def cut(self, reason: str) -> None:
        """Read nothing more, let the client have what was counted for it, and close both sides in order."""
        if self._closing:
            return
        self._closing = reason
        self.plane.book.leave(self.account, self, self.plane.engine.now)
        self.up.drop()
        self.up.ended = True
        self.down.stop_reading()
        if self.down.blocked:
            self.rearm()
            self.plane.engine.wheel.set(self, self.plane.engine.now + LINGER_S)
        else:
            self._finish(reason)

    def end(self, reason: str) -> None:
        """Close both sides at once."""
        if self._closing == CLOSED:
            return
        self._settle(reason)
        self.plane.engine.close(self._client)
        self.plane.engine.close(self._upstream)

    def abort(self, reason: str) -> None:
        self.end(reason)

    def on_deadline(self, now: float) -> None:
        if self._closing:
            self.end(self._closing)
            return
        limits = self.plane.limits
        half = self.up.done or self.down.done
        due = self.moved_at + (limits.half_closed_idle_s if half else limits.idle_s)
        if due <= now:
            self.cut("idle")
        else:
            for sock in (self._client, self._upstream):
                notice_silence(sock)
            self.plane.engine.wheel.set(self, min(due, now + limits.first_look_s))

    def _finish(self, reason: str) -> None:
        self._settle(reason)
        close_client(self.plane.engine, self._client)
        close_upstream(self.plane.engine, self._upstream)

    def _settle(self, reason: str) -> None:
        """Everything but the sockets. Afterwards nothing refers back to this tunnel."""
        self._closing = CLOSED
        plane = self.plane
        self.up.drop()
        self.down.drop()
        del self.up.other, self.down.other, self.up, self.down
        plane.engine.wheel.clear(self)
        plane.book.leave(self.account, self, plane.engine.now)
        self.segment.finish()
        self._owner.leave(self)
        plane.tally.open_tunnels -= 1
        plane.tally.ends[reason] += 1
        if plane.lines.spend(plane.engine.now):
            self._log_end(reason)

    def _log_end(self, reason: str) -> None:
        up, down, overhead = _plus(self._totals, self.segment)
        log.info(
            "tunnel.end",
            tunnel=self._tunnel_id,
            chip=str(self.chip_pass.chip_id),
            host=self._target.host,
            port=self._target.port,
            up=up,
            down=down,
            overhead=overhead,
            duration_s=round(self.plane.engine.now - self._started_at, 3),
            reason=reason,
        )

    def _remember(self, segment: Segment) -> None:
        self._past = self._past or set()
        self._past.add(segment.key())

    def _change_month(self) -> None:
        plane = self.plane
        plane.book.leave(self.account, self, plane.engine.now)
        self.account = plane.book.account(self.chip_pass.user_id, plane.calendar.month)
        plane.book.enter(self.account, self)


def _plus(totals: Counts, segment: Segment) -> Counts:
    up, down, overhead = segment.counts
    return totals[0] + up, totals[1] + down, totals[2] + overhead
