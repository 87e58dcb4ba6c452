"""Rows first, delivered after the commit, each once: over a real mail server and a real web server."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import time, timedelta

import pytest

from tests.factories import NOW, TZ
from tests.notify.office import (
    SIGNING,
    Office,
    attempts,
    change,
    channel_of,
    deliveries,
    notifications,
    until,
)
from tests.receivers import Customer, MailServer
from whago.domain.actions.channels import ChannelWishes, change_channel, remove_channel, send_test
from whago.domain.actions.deliveries import TURNS, claim_deliveries, end_old, finish_attempt, route_notifications
from whago.domain.models import Severity, clear_alert
from whago.domain.rules.delivering import CLAIM_LASTS, DISABLE_AFTER_FAILURES, GIVE_UP_AFTER
from whago.domain.rules.outcomes import Sent
from whago.kit.db import transaction
from whago.notify.post_office import deliver_due
from whago.notify.signing import is_signed


def test_an_alert_reaches_every_channel_once_and_so_does_its_end(office: Office, hook: Customer) -> None:
    user = office.someone(url=hook.url, name="Otto", email="otto@example.com")
    assert office.alert(user) is True
    assert office.alert(user) is False
    for _ in range(3):
        office.round()
    assert office.mail.subjects() == ["A chip waits for a proxy"]
    assert hook.types() == ["alert.raised"]
    assert [one.level for one in notifications(user)] == ["warning"]

    with transaction() as db:
        assert clear_alert(db, "chip_waiting_proxy", "chip-1", now=office.later(minutes=1))
    for _ in range(3):
        office.round()
    assert office.mail.subjects() == ["A chip waits for a proxy", "Chips have a proxy again"]
    assert hook.types() == ["alert.raised", "alert.recovered"]
    assert [one.level for one in notifications(user)] == ["warning", "success"]
    assert {one.state for one in deliveries()} == {"sent"}


def test_an_email_says_what_to_do_in_text_and_html_and_in_the_readers_language(office: Office) -> None:
    for language, hello, link in (("en", "Hello, Otto.", "Open WHAGO"), ("pt-BR", "Olá, Otto.", "Abrir o WHAGO")):
        user = office.someone(name="Otto", language=language)
        office.alert(user, subject=f"<b>{language}</b>")
        office.round()
        message = office.mail.messages[-1]
        text, html = message.get_body(("plain",)), message.get_body(("html",))
        assert text is not None
        assert html is not None
        assert hello in text.get_content()
        assert f"<b>{language}</b>" in text.get_content()
        assert f"&lt;b&gt;{language}&lt;/b&gt;" in html.get_content()
        assert link in html.get_content()
        assert "https://whago.example/chips" in text.get_content()
        assert "https://whago.example/settings/channels" in text.get_content()
        assert message["Content-Language"] == language
        assert message["Auto-Submitted"] == "auto-generated"
        (mailed,) = [one for one in deliveries() if one.channel_id == channel_of(user, "email").id]
        assert message["Message-ID"] == f"<{mailed.id}@whago.example>"


def test_a_webhook_is_signed_and_says_what_happened(office: Office, hook: Customer) -> None:
    user = office.someone(url=hook.url)
    office.alert(user, data={"alias": "vendas", "chip_id": "x"})
    office.round()
    (call,) = hook.calls
    assert call.path == "/hook?from=whago"
    assert is_signed(SIGNING, call.body, call.headers["x-whago-signature"], office.now)
    assert not is_signed("another", call.body, call.headers["x-whago-signature"], office.now)
    assert not is_signed(SIGNING, call.body + b" ", call.headers["x-whago-signature"], office.now)
    assert not is_signed(SIGNING, call.body, call.headers["x-whago-signature"], office.now + timedelta(minutes=6))
    assert call.content["id"] == call.headers["x-whago-delivery"]
    assert call.content["id"] in {str(one.id) for one in deliveries("sent")}
    assert call.headers["x-whago-event"] == call.content["type"] == "alert.raised"
    told = call.content["data"]
    assert told["kind"] == "chip_waiting_proxy"
    assert told["details"] == {"alias": "vendas", "chip_id": "x"}
    assert "vendas" in told["message"]


def test_a_receiver_that_fails_is_tried_again_later_and_later_under_one_id(office: Office, hook: Customer) -> None:
    user = office.someone(url=hook.url)
    hook.answers.extend([(500, {}, b"oh dear"), (302, {"Location": "http://127.0.0.1:1/"}, b""), (429, {}, b"")])
    office.alert(user)
    office.round()
    office.round()
    assert len(hook.calls) == 1
    until(lambda: len(hook.calls) == 4, lambda: (office.later(seconds=20), office.round()), 12)
    waits = [late.started_at - early.started_at for early, late in zip(made(user)[:-1], made(user)[1:], strict=True)]
    assert timedelta(seconds=7) <= waits[0] < waits[1] < waits[2]
    assert len({call.content["id"] for call in hook.calls}) == 1
    assert [call.headers["x-whago-attempt"] for call in hook.calls] == ["1", "2", "3", "4"]
    assert [(one.outcome, one.status, one.reason) for one in made(user)] == [
        ("retry", 500, "status"),
        ("retry", 302, "redirect"),
        ("retry", 429, "status"),
        ("sent", 204, "ok"),
    ]
    assert made(user)[0].excerpt == "oh dear"
    assert channel_of(user, "webhook").failures == 0


def made(user: object) -> list:  # type: ignore[type-arg]
    """The attempts at the webhook."""
    ids = {one.id for one in deliveries() if one.channel_id == channel_of(user, "webhook").id}  # type: ignore[arg-type]
    return [one for one in attempts() if one.delivery_id in ids]


def test_a_receiver_may_ask_for_time(office: Office, hook: Customer) -> None:
    office.alert(office.someone(url=hook.url))
    hook.answers.append((503, {"Retry-After": "120"}, b""))
    office.round()
    office.later(seconds=110)
    office.round()
    assert len(hook.calls) == 1
    office.later(seconds=11)
    office.round()
    assert len(hook.calls) == 2


def test_a_channel_that_always_fails_is_switched_off_with_a_notice_and_can_be_switched_on(
    office: Office, hook: Customer
) -> None:
    user = office.someone(url=hook.url)
    hook.answers.extend([(500, {}, b"")] * 1000)
    for number in range(DISABLE_AFTER_FAILURES):
        office.alert(user, subject=f"chip-{number}")
    office.round()
    assert len(hook.calls) == TURNS  # and not all ten: a receiver that is down is asked little
    until(lambda: not channel_of(user, "webhook").is_active, lambda: (office.later(minutes=5), office.round()), 40)
    assert channel_of(user, "webhook").failures >= DISABLE_AFTER_FAILURES
    calls = len(hook.calls)
    office.later(hours=1)
    office.round()
    assert len(hook.calls) == calls
    assert office.mail.subjects().count("An alert channel was switched off") == 1
    waiting = len(deliveries("pending"))
    assert waiting > 0

    hook.answers.clear()
    change_channel(user.id, channel_of(user, "webhook").id, ChannelWishes("My system"), now=office.now)
    until(lambda: not deliveries("pending"), lambda: (office.later(hours=6), office.round()), 10)
    assert office.mail.subjects().count("An alert channel is on again") == 1
    assert {one.state for one in deliveries()} == {"sent"}


def test_a_receiver_that_is_gone_for_good_is_never_asked_again(office: Office, hook: Customer) -> None:
    user = office.someone(url=hook.url)
    hook.answers.append((410, {}, b""))
    office.alert(user)
    office.round()
    assert not channel_of(user, "webhook").is_active
    assert [one.error for one in deliveries("failed")] == ["gone"]


def test_what_waits_for_a_channel_that_stays_off_is_given_up_in_the_end(office: Office, hook: Customer) -> None:
    user = office.someone(url=hook.url)
    office.alert(user)
    route_notifications(now=office.now, tz=TZ)
    change(channel_of(user, "webhook"), is_active=False)
    office.round()
    assert len(hook.calls) == 0
    assert end_old(now=office.now) == (0, 0)
    assert end_old(now=office.now + GIVE_UP_AFTER + timedelta(hours=1)) == (1, 0)
    assert [one.error for one in deliveries("failed")] == ["too_old"]
    assert end_old(now=office.now + timedelta(days=31)) == (0, 2)
    assert deliveries() == []


def test_a_removed_channel_gets_nothing_more(office: Office, hook: Customer) -> None:
    user = office.someone(url=hook.url)
    office.alert(user)
    route_notifications(now=office.now, tz=TZ)
    remove_channel(user.id, channel_of(user, "webhook").id, now=office.now)
    office.round()
    office.alert(user, subject="another")
    office.round()
    assert hook.calls == []


def test_one_slow_or_broken_receiver_does_not_hold_up_the_others(office: Office, hook: Customer) -> None:
    broken, fine = office.someone(url="http://127.0.0.1:9/closed"), office.someone(url=hook.url)
    for number in range(60):
        office.alert(broken, subject=f"broken-{number}")
    office.alert(fine, subject="fine")
    office.round()
    assert [call.content["data"]["details"]["alias"] for call in hook.calls] == ["fine"]


def test_two_workers_at_once_deliver_each_once(office: Office, hook: Customer) -> None:
    user = office.someone(url=hook.url)
    for number in range(20):
        office.alert(user, subject=f"chip-{number}")
    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(office.round) for _ in range(3)]:
            done.result()
    until(lambda: not deliveries("pending"), office.round, 10)
    assert len(hook.calls) == len({call.content["id"] for call in hook.calls}) == 20
    assert len(office.mail.messages) == 20


def test_a_claim_whose_worker_died_is_taken_over_when_it_runs_out(office: Office, hook: Customer) -> None:
    user = office.someone(url=hook.url)
    change(channel_of(user, "email"), is_active=False)
    office.alert(user)
    route_notifications(now=office.now, tz=TZ)
    (lost,) = claim_deliveries(now=office.now, limit=10)  # and then nothing: its worker is dead
    office.round()
    assert hook.calls == []
    office.later(seconds=CLAIM_LASTS.total_seconds() + 1)
    office.round()
    assert [call.content["id"] for call in hook.calls] == [str(lost.delivery_id)]
    assert [one.outcome for one in attempts()] == ["cut_off", "sent"]

    finish_attempt(lost, Sent("ok", 200), now=office.now)  # it was only slow, and comes back after all
    assert [one.state for one in deliveries()] == ["sent"]
    office.later(hours=1)
    office.round()
    assert len(hook.calls) == 1


def test_quiet_hours_hold_back_what_is_not_urgent(office: Office) -> None:
    user = office.someone()
    change(channel_of(user, "email"), quiet_from=time(11), quiet_to=time(13), time_zone="America/Sao_Paulo")
    office.alert(user, subject="calm")  # NOW is noon in São Paulo
    office.alert(user, subject="urgent", kind="quota_exhausted", severity=Severity.ERROR, data=SPENT)
    office.round()
    assert office.mail.subjects() == ["Proxy quota used up"]
    office.later(minutes=59)
    office.round()
    assert len(office.mail.messages) == 1
    office.later(minutes=1)
    office.round()
    assert office.mail.subjects() == ["Proxy quota used up", "A chip waits for a proxy"]


SPENT = {"month": "2026-11", "used_bytes": 10**9, "limit_bytes": 10**9, "on_limit": "block"}


def test_channels_get_only_the_kinds_and_thresholds_that_they_want(office: Office, hook: Customer) -> None:
    user = office.someone()
    office.webhook(user, hook.url, kinds=["quota_warning", "quota_exhausted"], thresholds=[50, 100])
    change(channel_of(user, "in_app"), kinds=["quota_warning"], thresholds=[80])
    facts = {**SPENT, "used_bytes": 8 * 10**8}
    office.alert(user, kind="quota_warning", subject="50", data={**facts, "threshold": 50})
    office.alert(user, kind="quota_warning", subject="80", data=facts)
    office.alert(user, kind="quota_exhausted", subject="100", data=SPENT)
    office.alert(user)
    office.round()
    told = [call.content["data"] for call in hook.calls]
    assert {(one["kind"], one["details"].get("threshold")) for one in told} == {
        ("quota_warning", 50),
        ("quota_exhausted", None),
    }
    assert len(told) == 2
    assert [one.data.get("threshold", 80) for one in notifications(user) if one.in_app] == [80]
    assert sorted(office.mail.subjects()) == [
        "80% of the proxy quota used",
        "A chip waits for a proxy",
        "Proxy quota used up",
    ]


def test_a_mail_server_that_is_away_or_refuses_for_now_loses_nothing(office: Office, mail: MailServer) -> None:
    user = office.someone()
    mail.answers.extend(["451 come back later", "451 come back later"])
    office.alert(user)
    until(lambda: bool(mail.messages), lambda: (office.round(), office.later(minutes=2)), 10)
    assert [one.outcome for one in attempts()] == ["retry", "retry", "sent"]
    assert channel_of(user, "email").failures == 0


def test_an_address_that_the_mail_server_refuses_for_good_is_not_tried_again(office: Office, mail: MailServer) -> None:
    user = office.someone()
    mail.answers.append("550 no such user here")
    office.alert(user)
    office.round()
    office.later(days=1)
    office.round()
    assert mail.messages == []
    assert [(one.outcome, one.status, one.excerpt) for one in attempts()] == [("failed", 550, "no such user here")]


@pytest.mark.parametrize("kind", ["email", "webhook"])
def test_a_test_is_sent_once_and_soon_and_blames_nobody(office: Office, hook: Customer, kind: str) -> None:
    user = office.someone(url=hook.url)
    send_test(user.id, channel_of(user, kind).id, now=office.now)
    office.round()
    assert (len(office.mail.messages), len(hook.calls)) == ((1, 0) if kind == "email" else (0, 1))
    hook.answers.append((500, {}, b""))
    send_test(user.id, channel_of(user, "webhook").id, now=office.now)
    office.round()
    office.later(days=1)
    office.round()
    assert sorted(one.state for one in deliveries()) == ["failed", "sent"]
    assert channel_of(user, "webhook").failures == 0


def test_a_round_stops_between_claims_when_the_worker_shall_end(office: Office) -> None:
    office.alert(office.someone())
    stopping = threading.Event()
    stopping.set()
    assert deliver_due(office.courier, now=lambda: NOW, tz=TZ, stopping=stopping) == {"sent": 0, "failed": 0}
    assert [one.state for one in deliveries()] == ["pending"]
