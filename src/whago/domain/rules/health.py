"""How far a proxy can be trusted: a score of 0 to 100 made of terms that can be explained, and when it is taken out.

Ejection after Envoy's outlier detection (consecutive errors, an ejection time that grows, a panic threshold) and
HAProxy's ``observe``: real traffic counts as a probe. Two lines instead of one, 40 to go out and 60 to come back, keep
a proxy that is neither good nor bad from going in and out all day.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from statistics import median
from typing import Final, Literal
from uuid import UUID

HALF_LIFE_S: Final = 600.0  # what happened ten minutes ago counts half: residential exits recover within such a time
PRIOR: Final = 2.0  # successes that every proxy is given: the first failure of an unknown one costs a third, not all
LATENCY_FREE: Final = 1.5  # times the median: exits of one provider differ by that much without anything being wrong
LATENCY_SLOPE: Final = 20  # points for each further multiple of the median
LATENCY_MAX: Final = 30  # a slow proxy works, so slowness alone never ejects it
LATENCY_PEERS: Final = 3  # below that many measured proxies a median says nothing about one of them
LATENCY_WEIGHT: Final = 0.2  # of a new measurement in the running average
IP_CHANGE_POINTS: Final = 20  # for one silent change of its exit IP per chip and day
IP_CHANGE_MAX: Final = 20
FULL: Final = 100

EJECT_AFTER: Final = 3  # failures in a row
EJECT_BELOW: Final = 40
RETURN_ABOVE: Final = 60
EJECTION_STEP_S: Final = 30.0  # times the number of ejections
EJECTION_MAX_S: Final = 300.0
EJECTION_JITTER: Final = 0.2  # of the time, so that proxies that fell together do not come back together
FORGIVEN_AFTER: Final = timedelta(minutes=10)  # a proxy that was in for this long starts again with the first step
TRIAL_FORGIVES: Final = 0.5  # of the failures at each good trial, so that a few of them outweigh a long outage
PANIC_SHARE: Final = 0.5  # when more of the pool than this is out, the fault may be ours
PROOF_FRESH: Final = timedelta(seconds=60)  # how old an answer may be that shows, in a panic, that a proxy lives
REFUSALS_TO_ASK: Final = 3  # in a row: then the provider's account is looked at


ProxyState = Literal["in", "trial", "out"]
"""In the pool, ejected and waiting for its time, or past it and to be tried."""


class Blame(StrEnum):
    """Against whom an attempt speaks that opened no tunnel."""

    PROXY = "proxy"
    ACCOUNT = "account"  # credential, balance, allow list: the provider's account, not the single proxy
    TARGET = "target"  # WhatsApp's side, or a rule of the vendor about it; an allow list can hide behind it
    NOBODY = "nobody"  # the client, our quota, our egress rules, ourselves, a target of which the proxy says so itself


_BY_REASON: Final[Mapping[str, Blame]] = {  # what the gateway calls it
    "upstream_unreachable": Blame.PROXY,
    "upstream_timeout": Blame.PROXY,
    "upstream_protocol": Blame.PROXY,
    "upstream_auth_failed": Blame.ACCOUNT,
}
_BY_STATUS: Final[Mapping[int, Blame]] = {  # of a refused CONNECT; the rest speaks against the proxy (502, 504, 525 …)
    401: Blame.ACCOUNT,
    402: Blame.ACCOUNT,
    407: Blame.ACCOUNT,
    429: Blame.ACCOUNT,
    403: Blame.TARGET,
    451: Blame.TARGET,
}
_BY_REPLY: Final[Mapping[int, Blame]] = {2: Blame.TARGET, 5: Blame.TARGET}  # SOCKS5 (RFC 1928 §6); status below 100


def blame(reason: str, status: int = 0) -> Blame:
    """``reason``: a key of the gateway's refusals; ``status``: the upstream's HTTP status or SOCKS5 reply, or 0."""
    if reason != "upstream_refused":
        return _BY_REASON.get(reason, Blame.NOBODY)
    return (_BY_STATUS if status >= 100 else _BY_REPLY).get(status, Blame.PROXY)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one proxy. Weights are counts that have been decaying since ``weighed_at``.

    ``ip_changes``: silent changes of exit IPs in the last day, over all its ``chips``.
    """

    ok_weight: float = 0.0
    bad_weight: float = 0.0
    weighed_at: datetime | None = None
    latency_ms: int | None = None
    ip_changes: int = 0
    chips: int = 0


@dataclass(frozen=True, slots=True)
class Term:
    """One part of the score. ``points`` is 0 or less; ``facts`` are the figures behind it."""

    code: str
    points: int
    facts: Mapping[str, float] = field(default_factory=dict)


def decayed(weight: float, since: datetime | None, now: datetime) -> float:
    """A weight as of now."""
    if since is None or now <= since:
        return weight
    return float(weight * 0.5 ** ((now - since).total_seconds() / HALF_LIFE_S))


def provider_median(latencies_ms: Sequence[int]) -> float | None:
    """The middle of what is measured; None when it is too little."""
    return float(median(latencies_ms)) if len(latencies_ms) >= LATENCY_PEERS else None


def terms(evidence: Evidence, *, median_ms: float | None, now: datetime) -> tuple[Term, ...]:
    """Every term, also those that cost nothing: the score is 100 and their sum, at least 0."""
    return (_success(evidence, now), _latency(evidence, median_ms), _stability(evidence))


def score_of(parts: Sequence[Term]) -> int:
    return max(0, FULL + sum(term.points for term in parts))


def _success(evidence: Evidence, now: datetime) -> Term:
    ok = decayed(evidence.ok_weight, evidence.weighed_at, now)
    bad = decayed(evidence.bad_weight, evidence.weighed_at, now)
    points = -round(FULL * bad / (ok + bad + PRIOR))
    return Term("success", points, {"failed": round(bad, 1), "tried": round(ok + bad, 1)})


def _latency(evidence: Evidence, median_ms: float | None) -> Term:
    if evidence.latency_ms is None or not median_ms:
        return Term("latency", 0)
    ratio = evidence.latency_ms / median_ms
    points = -min(LATENCY_MAX, max(0, round((ratio - LATENCY_FREE) * LATENCY_SLOPE)))
    return Term(
        "latency",
        points,
        {"ratio": round(ratio, 1), "latency_ms": evidence.latency_ms, "median_ms": round(median_ms)},
    )


def _stability(evidence: Evidence) -> Term:
    rate = evidence.ip_changes / max(1, evidence.chips)
    points = -min(IP_CHANGE_MAX, round(rate * IP_CHANGE_POINTS))
    return Term("ip_stability", points, {"changes": evidence.ip_changes, "chips": evidence.chips})


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a proxy stands. ``ejected_until`` None: it is in. ``ejections``: how often in a row it was taken out."""

    score: int
    streak: int
    ejected_until: datetime | None = None
    ejections: int = 0
    returned_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Eject:
    until: datetime
    times: int


@dataclass(frozen=True, slots=True)
class Return:
    """Back in: it may take chips again."""


def judge(standing: Standing, *, proxy_id: UUID, now: datetime) -> Eject | Return | None:
    """What follows from where a proxy stands; None: it stays where it is.

    After its time it is *on trial*: one probe at a time, or real traffic, must succeed before it returns.
    """
    if standing.ejected_until is None:
        bad = standing.streak >= EJECT_AFTER or standing.score < EJECT_BELOW
        return eject(standing, proxy_id=proxy_id, now=now) if bad else None
    if now < standing.ejected_until:
        return None
    return Return() if standing.streak == 0 and standing.score > RETURN_ABOVE else None


def eject(standing: Standing, *, proxy_id: UUID, now: datetime) -> Eject:
    """Out for 30 s times the number of ejections, at most 300 s, and up to a fifth longer or less."""
    forgiven = standing.ejected_until is None and (
        standing.returned_at is None or now - standing.returned_at > FORGIVEN_AFTER
    )
    times = 1 if forgiven else standing.ejections + 1
    stretched = EJECTION_STEP_S * times * (1 + EJECTION_JITTER * _jitter(proxy_id, times))
    return Eject(now + timedelta(seconds=min(stretched, EJECTION_MAX_S)), times)


def session_share(chips: int) -> int:
    """How many failures of one chip's session count in the proxy's row of failures, until that session works again.

    Behind a rotating address many sessions live: one that is dead, however often it tries, is not the proxy's death.
    """
    return -(-EJECT_AFTER // max(1, chips))


def in_panic(out: int, total: int, *, used_out: int = 0, used: int = 0) -> bool:
    """More than half of the pool, or of the proxies that carry chips, is out.

    It may be us, so chips are held unless a survivor proves that it lives.
    """
    return out > total * PANIC_SHARE or used_out > used * PANIC_SHARE


def _jitter(proxy_id: UUID, times: int) -> float:
    """From -1 to 1, the same for the same ejection."""
    digest = hashlib.sha256(proxy_id.bytes + times.to_bytes(4, "big")).digest()
    return int.from_bytes(digest[:4], "big") / 2**31 - 1
