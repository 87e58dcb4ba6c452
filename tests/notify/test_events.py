"""Events for a customer's own system: whatever changes a chip, whoever asks for it is told, in the order of things."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select, text

from tests.factories import NOW, TZ, make_chip, make_plan, make_provider, make_proxy, make_ready_pool, make_user
from tests.notify.office import ALL_EVENTS, Office, change, channel_of, notifications
from tests.receivers import Customer
from tests.web.api_setup import config
from whago.domain.actions.assignments import rotate_proxy
from whago.domain.actions.chips import delete_chip, set_chip_status
from whago.domain.actions.exit_ips import observe_exit_ip
from whago.domain.actions.gateways import register_boot
from whago.domain.actions.record_usage import MeteredUsage, record_usage
from whago.domain.models import Assignment, Channel, ChipStatus, CustomerEvent, Provider, User
from whago.domain.models.first_channels import watch_thresholds
from whago.domain.rules.months import usage_hour
from whago.kit import clock
from whago.kit.db import transaction
from whago.kit.ids import new_id
from whago.web.api.customer_webhooks import (
    ChipExitIpChanged,
    ChipProxyChanged,
    ChipStatusChanged,
    Notified,
    UsageThreshold,
)
from whago.web.app import create_app


def customer_with_hook(office: Office, hook: Customer, **fields: object) -> User:
    user = make_user(make_plan(), **fields)
    office.webhook(user, hook.url, kinds=[], events=list(ALL_EVENTS))
    return user


def told(office: Office, hook: Customer, event: str) -> list[dict[str, object]]:
    """What came of one kind, in the order in which it happened. Database triggers use the real time, so we do."""
    office.now = max(office.now, clock.now())
    office.round()
    found = [call.content for call in hook.calls if call.content["type"] == event]
    return [one["data"] for one in sorted(found, key=lambda one: one["number"])]


def active() -> Assignment:
    with transaction() as db:
        return db.scalars(select(Assignment).where(Assignment.released_at.is_(None))).one()


def test_every_change_of_a_chips_status_is_told_whoever_makes_it(office: Office, hook: Customer) -> None:
    make_ready_pool()
    user = customer_with_hook(office, hook)
    chip = make_chip(user, "vendas")
    set_chip_status(chip.chip_id, ChipStatus.CONNECTED, now=NOW)
    set_chip_status(chip.chip_id, ChipStatus.CONNECTED, now=NOW)
    with transaction() as db:
        db.execute(text("UPDATE chips SET status = 'error', status_reason = 'by hand'"))  # no object, no action
    delete_chip(user.id, chip.chip_id, now=NOW)
    changes = told(office, hook, "chip.status_changed")
    assert [(one["before"], one["after"]) for one in changes] == [
        (None, "created"),
        ("created", "connected"),
        ("connected", "error"),
        ("error", "deleted"),
    ]
    assert {(one["chip_id"], one["alias"]) for one in changes} == {(str(chip.chip_id), "vendas")}


def test_what_is_taken_back_was_never_told(office: Office, hook: Customer) -> None:
    make_ready_pool()
    chip = make_chip(customer_with_hook(office, hook))
    try:
        with transaction() as db:
            db.execute(text("UPDATE chips SET status = 'error'"))
            raise RuntimeError("on second thought")
    except RuntimeError:
        pass
    assert [one["after"] for one in told(office, hook, "chip.status_changed")] == ["created"]
    assert chip


def test_another_proxy_and_another_exit_ip_are_told(office: Office, hook: Customer) -> None:
    provider = make_provider()
    make_proxy(provider)
    user = customer_with_hook(office, hook)
    chip = make_chip(user, "vendas")
    observe_exit_ip(active().id, "203.0.113.7", country="BR", asn=None, now=NOW)
    observe_exit_ip(active().id, "203.0.113.7", country="BR", asn=None, now=NOW + timedelta(hours=1))
    observe_exit_ip(active().id, "203.0.113.8", country="BR", asn=None, now=NOW + timedelta(hours=2))
    rotate_proxy(user.id, chip.chip_id, now=NOW + timedelta(hours=3))
    observe_exit_ip(active().id, "203.0.113.9", country="BR", asn=None, now=NOW + timedelta(hours=4))
    proxies = told(office, hook, "chip.proxy_changed")
    assert [one["reason"] for one in proxies] == ["created", "rotated_by_user"]
    assert proxies[1]["session_identifier"] == active().session_identifier
    exits = told(office, hook, "chip.exit_ip_changed")
    assert [(one["before"], one["after"]) for one in exits] == [
        (None, "203.0.113.7"),
        ("203.0.113.7", "203.0.113.8"),
        ("203.0.113.8", "203.0.113.9"),
    ]


def test_nothing_is_kept_for_customers_who_do_not_ask(office: Office, hook: Customer) -> None:
    make_ready_pool()
    other = office.someone(url=hook.url)  # a webhook for alerts alone
    silent = customer_with_hook(office, hook)
    change(channel_of(silent, "webhook"), is_active=False)
    for user in (other, silent, make_user(make_plan())):
        chip = make_chip(user)
        set_chip_status(chip.chip_id, ChipStatus.CONNECTED, now=NOW)
    with transaction() as db:
        assert db.scalars(select(CustomerEvent)).all() == []


def move(user: User, chip_id: object, count: int, *, tunnel: int) -> None:
    here = active()
    with transaction() as db:
        price = db.get_one(Provider, here.provider_id).current_price_id
    now, boot = clock.now(), new_id()
    register_boot(boot, host="h", pid=1, port=1, now=now)
    usage = MeteredUsage(
        tunnel_id=tunnel, user_id=user.id, chip_id=here.chip_id, proxy_id=here.proxy_id, assignment_id=here.id,
        price_id=price or 0, hour=usage_hour(now, TZ), bytes_up=0, bytes_down=count, overhead=0,
        started_at=now, last_at=now,
    )  # fmt: skip
    record_usage(boot, [usage], now=now, tz=TZ, is_last=True)


def test_the_traffic_tells_every_threshold_that_somebody_asked_for_once(office: Office, hook: Customer) -> None:
    make_ready_pool()
    user = make_user(make_plan(on_limit="bill"))
    office.webhook(user, hook.url, kinds=[], events=["usage.threshold"], thresholds=[50, 95, 120])
    chip = make_chip(user).chip_id
    steps = [(300, []), (250, [50]), (10, []), (250, [80]), (150, [95]), (60, [100]), (300, [120]), (300, [])]
    heard: list[int] = []
    for number, (megabytes, new) in enumerate(steps):
        move(user, chip, megabytes * 10**6, tunnel=number)
        heard += new
        assert [one["threshold_percent"] for one in told(office, hook, "usage.threshold")] == heard
    assert [one.data.get("threshold", one.kind) for one in notifications(user)] == [
        50,
        "quota_warning",
        95,
        "quota_exhausted",
        120,
    ]


def test_thresholds_of_a_channel_that_is_gone_are_no_longer_watched(office: Office, hook: Customer) -> None:
    make_ready_pool()
    user = make_user(make_plan())
    office.webhook(user, hook.url, thresholds=[50])
    with transaction() as db:
        assert db.get_one(User, user.id).quota_thresholds == [50]
        db.get_one(Channel, channel_of(user, "webhook").id).is_active = False
        watch_thresholds(db, user.id)
        assert db.get_one(User, user.id).quota_thresholds is None
    move(user, make_chip(user).chip_id, 600 * 10**6, tunnel=1)
    assert notifications(user) == []


def test_what_arrives_is_what_the_openapi_document_says(office: Office, hook: Customer) -> None:
    document = create_app(config()).openapi()
    assert set(document["webhooks"]) == {*ALL_EVENTS, "alert"}
    make_ready_pool()
    user = make_user(make_plan())
    office.webhook(user, hook.url, events=list(ALL_EVENTS))
    chip = make_chip(user).chip_id
    observe_exit_ip(active().id, "203.0.113.7", country="BR", asn=None, now=NOW)
    move(user, chip, 850 * 10**6, tunnel=1)
    told(office, hook, "usage.threshold")
    models = {
        "usage.threshold": UsageThreshold,
        "chip.status_changed": ChipStatusChanged,
        "chip.exit_ip_changed": ChipExitIpChanged,
        "chip.proxy_changed": ChipProxyChanged,
        "alert.raised": Notified,
    }
    assert {one.content["type"] for one in hook.calls} == set(models)
    for call in hook.calls:
        read = models[call.content["type"]].model_validate_json(call.body)
        assert {*call.content} == {*type(read).model_fields}
        assert {*call.content["data"]} == {*type(read.data).model_fields}  # type: ignore[attr-defined]
        assert str(read.id) == call.headers["x-whago-delivery"]
