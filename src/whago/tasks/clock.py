"""A clock: something that is done again and again, by one worker at a time, with every run on record."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy.exc import DBAPIError

from whago.bridge.client import BridgeClient
from whago.domain.actions.clock_runs import begin_run, end_run, only_one
from whago.errors import WhagoError
from whago.kit import clock as wall
from whago.kit.crypto import Vault
from whago.tasks.metrics import ClockMetrics

log = structlog.get_logger()

NOT_WITHIN: Final = 0.8  # of the interval: several workers may tick for the same clock, and ticks come a bit early

Counts = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Tools:
    """What the clocks work with. ``gateway_address``: host:port that chips dial.

    ``stopping`` is set when the worker shall end: long work leaves at its next step.
    """

    vault: Vault
    tz: ZoneInfo
    allow_private_upstreams: bool = False
    bridge: BridgeClient | None = None
    gateway_address: str = "127.0.0.1:3128"
    stopping: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, slots=True)
class Clock:
    """``work`` gets the tools and the time and returns what it counted. A tick that nobody took in time is dropped."""

    name: str
    every_s: int
    work: Callable[[Tools, datetime], Counts]
    at_start: bool = False


class Outcome(StrEnum):
    """How a tick ended. All but the last prove that scheduler, worker and database work."""

    DONE = "done"
    FAILED = "failed"
    OVERLAP = "overlap"
    NOT_DUE = "not_due"
    NO_DATABASE = "no_database"


def run_clock(one: Clock, tools: Tools, metrics: ClockMetrics) -> Outcome:
    """One tick. Never raises: what goes wrong is recorded, and the next tick comes."""
    try:
        with only_one(one.name) as is_mine:
            outcome = _run(one, tools, metrics) if is_mine else Outcome.OVERLAP
    except WhagoError as error:
        log.warning("clock.no_database", clock=one.name, reason=error.code)
        outcome = Outcome.NO_DATABASE
    metrics.ticked(one.name, outcome, reached_database=outcome is not Outcome.NO_DATABASE)
    return outcome


def _run(one: Clock, tools: Tools, metrics: ClockMetrics) -> Outcome:
    began = wall.now()
    run_id = begin_run(one.name, now=began, not_within=timedelta(seconds=one.every_s * NOT_WITHIN))
    if run_id is None:
        return Outcome.NOT_DUE
    counts: Counts = {}
    told = None
    try:
        counts = one.work(tools, began)
    except Exception as error:  # a bug in one clock must not silence it for ever, nor the other clocks
        told = _told(error)
        log.error("clock.failed", clock=one.name, reason=told, exc_info=not isinstance(error, WhagoError))
    ended = wall.now()
    end_run(run_id, counts=counts, error=told, now=ended)
    if told is not None:
        return Outcome.FAILED
    metrics.succeeded(one.name, began, ended, counts)
    return Outcome.DONE


def _told(error: Exception) -> str:
    """Short and without parameters of statements, which may hold what is sealed or hashed."""
    if isinstance(error, WhagoError):
        return error.code
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return f"{type(cause).__name__}: {str(cause).partition(chr(10))[0]}"
