"""Failure switches: what goes wrong, for whom. All of it is off until somebody asks.

A switch is set for ``all``, for one account (``account:demo``) or for one sticky session (``session:demo:12345678``);
the narrower scope wins, switch by switch. A change reaches running tunnels at their next chunk.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

SCOPES_MAX: Final = 10_000  # a bound on memory, far above what a test of 200 chips sets
ALL: Final = "all"


class SwitchError(Exception):
    """An unknown switch, scope or value; the message names it."""


class Switches(BaseModel):
    """The switches of one scope. None means: not set here, ask the wider scope."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    refuse_connect: int | None = Field(default=None, ge=201, le=599)  # answer every CONNECT with this HTTP status
    port_down: bool | None = None  # stop listening; running tunnels go on; only for all
    allow_list_denied: bool | None = None  # the client's IP is not on the vendor's allow list
    balance_empty: bool | None = None  # the traffic that the account paid for is used up
    no_exit_in_country: bool | None = None
    garbage: bool | None = None  # answer the CONNECT with bytes that are no protocol
    stall: bool | None = None  # take the CONNECT and never answer
    one_byte_replies: bool | None = None  # send handshake replies one byte at a time
    latency_ms: int | None = Field(default=None, ge=0, le=60_000)  # before the answer, and before each chunk down
    throughput_bytes_per_s: int | None = Field(default=None, ge=1)  # for each direction of each tunnel
    freeze: bool | None = None  # running tunnels stay open but move nothing
    reset_after_bytes: int | None = Field(default=None, ge=0)  # RST once a tunnel has moved this many, both ways
    drop_idle_after_s: float | None = Field(default=None, gt=0)  # close tunnels that were silent this long


_FOR_ALL_ONLY: Final = frozenset({"port_down"})


class SwitchBoard:
    """The switches of every scope. ``version`` grows with each change, so that readers can keep what they merged."""

    def __init__(self) -> None:
        self._scopes: dict[str, Switches] = {}
        self.version = 0

    def set(self, scope: str, **changes: Any) -> Switches:
        """Change some switches of a scope; None unsets one. Returns the scope as it is now."""
        _check_scope(scope, changes)
        merged = {**self._scopes.get(scope, Switches()).model_dump(), **changes}
        try:
            switches = Switches.model_validate(merged)
        except ValidationError as wrong:
            first = wrong.errors()[0]
            raise SwitchError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from wrong
        if scope not in self._scopes and len(self._scopes) >= SCOPES_MAX:
            raise SwitchError(f"more than {SCOPES_MAX} scopes")
        self._scopes[scope] = switches
        self.version += 1
        return switches

    def reset(self, scope: str | None = None) -> None:
        """Unset every switch of one scope, or of all scopes."""
        if scope is None:
            self._scopes.clear()
        else:
            self._scopes.pop(scope, None)
        self.version += 1

    def effective(self, account: str, sticky: str) -> Switches:
        """What holds for one sticky session (its full name) of one account."""
        merged: dict[str, Any] = {}
        for scope in (ALL, f"account:{account}", f"session:{sticky}"):
            if scope in self._scopes:
                merged.update(self._scopes[scope].model_dump(exclude_none=True))
        return Switches.model_construct(**merged)

    @property
    def port_down(self) -> bool:
        """Whether the proxy ports are to be closed."""
        return bool(self._scopes.get(ALL, Switches()).port_down)

    @property
    def drops_idle(self) -> bool:
        """Whether any scope drops idle tunnels, so that a sweep is worth its time."""
        return any(switches.drop_idle_after_s for switches in self._scopes.values())

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """Every scope with what is set there, for JSON."""
        dumped = {scope: switches.model_dump(exclude_none=True) for scope, switches in self._scopes.items()}
        return {scope: values for scope, values in dumped.items() if values}


def _check_scope(scope: str, changes: dict[str, Any]) -> None:
    kind, _, name = scope.partition(":")
    if scope != ALL and not (kind in ("account", "session") and name):
        raise SwitchError(f"scope: {scope!r} is not all, account:NAME or session:ACCOUNT:ID")
    if scope != ALL and (misplaced := _FOR_ALL_ONLY & changes.keys()):
        raise SwitchError(f"{min(misplaced)}: can only be set for all")
