"""The Celery app: the clocks' table as tasks and as beat's schedule, on Redis or Valkey.

A tick is a message without content; the work is in ``clock.run_clock``. Messages are acknowledged after the run, so a
tick whose worker was killed is delivered again; a tick that waited longer than its interval is dropped, because the
next one is there already.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from celery import Celery

from whago.kit.broker import CONNECT_TIMEOUT_S, tls_options, without_tls
from whago.tasks.clock import AnyClock, Tools, run_clock
from whago.tasks.metrics import ClockMetrics

QUEUE: Final = "whago"
PREFIX: Final = "whago."
VISIBILITY_S: Final = 60  # after that an unacknowledged tick goes to another worker; a run that takes longer is safe,
# because the clock's lock makes the second one leave
RESTORE_EVERY_S: Final = 5  # how often such ticks are looked for
ANSWER_S: Final = 10  # a broker that fell silent is left; longer than the second for which an empty queue is asked


def make_app(
    broker_url: str,
    clocks: Sequence[AnyClock],
    tools: Tools,
    metrics: ClockMetrics,
    *,
    visibility_timeout_s: int = VISIBILITY_S,
    restore_every_s: int = RESTORE_EVERY_S,
) -> Celery:
    """An app that can run the clocks. Intervals in seconds."""
    app = make_beat_app(broker_url, clocks)
    app.conf.broker_transport_options = {
        **app.conf.broker_transport_options,
        "visibility_timeout": visibility_timeout_s,
        "unacked_restore_interval": restore_every_s,
        "unacked_restore_throttle": 1,
    }
    for one in clocks:
        _register(app, one, tools, metrics)
    return app


def make_beat_app(broker_url: str, clocks: Sequence[AnyClock]) -> Celery:
    """An app of its own, not the process's default one, that can send the clocks' ticks and run none of them."""
    app = Celery("whago", broker=without_tls(broker_url), backend=None, set_as_current=False)
    app.conf.update(
        broker_use_ssl=tls_options(broker_url),
        task_default_queue=QUEUE,
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_serializer="json",
        accept_content=["json"],
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_send_task_events=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_enable_remote_control=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=CONNECT_TIMEOUT_S,
        broker_transport_options={
            "socket_keepalive": True,
            "socket_connect_timeout": CONNECT_TIMEOUT_S,
            "socket_timeout": ANSWER_S,
        },
        enable_utc=True,
        timezone="UTC",
        beat_schedule={one.name: _entry(one) for one in clocks},
    )
    return app


def tick(app: Celery, one: AnyClock) -> None:
    """Sends one tick now. Raises kombu's OperationalError when the broker cannot be reached."""
    app.send_task(PREFIX + one.name, expires=one.every_s)


def _entry(one: AnyClock) -> dict[str, Any]:
    return {"task": PREFIX + one.name, "schedule": float(one.every_s), "options": {"expires": one.every_s}}


def _register(app: Celery, one: AnyClock, tools: Tools, metrics: ClockMetrics) -> None:
    def run() -> str:
        return run_clock(one, tools, metrics).value

    app.task(run, name=PREFIX + one.name, shared=False)
