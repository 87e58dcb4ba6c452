"""Counts of attempts in the broker: shared by web processes, and weaker but never open without it."""

from __future__ import annotations

from whago.errors import WhagoError
from whago.kit.ids import new_id
from whago.main.embedded import free_port
from whago.web.attempts import ACCOUNT, ACCOUNT_FROM_ADDRESS, Attempts


def tries(attempts: list[Attempts], email: str, addresses: list[str]) -> int:
    """How many logins are let through before the first refusal."""
    for n in range(1_000):
        refusal = refusal_of(attempts[n % len(attempts)], email, addresses[n % len(addresses)])
        if refusal is not None:
            assert refusal.code == "too_many_attempts"
            assert refusal.details["retry_after_s"] > 0
            return n
    raise AssertionError("nothing stopped a thousand attempts")


def refusal_of(attempts: Attempts, email: str, address: str) -> WhagoError | None:
    try:
        attempts.before_login(email, address)
    except WhagoError as refusal:
        return refusal
    return None


def test_two_processes_count_together(broker_url: str) -> None:
    processes = [Attempts(broker_url), Attempts(broker_url)]
    assert tries(processes, f"{new_id()}@x.test", ["10.0.0.1"]) == ACCOUNT_FROM_ADDRESS.amount


def test_an_account_is_guarded_against_many_addresses(broker_url: str) -> None:
    addresses = [f"10.0.0.{n}" for n in range(100)]
    assert tries([Attempts(broker_url)], f"{new_id()}@x.test", addresses) == ACCOUNT.amount


def test_without_the_broker_each_process_still_counts() -> None:
    attempts = Attempts(f"redis://127.0.0.1:{free_port()}/0")
    assert not attempts.broker_answers()
    assert tries([attempts], "a@x.test", ["10.0.0.1"]) == ACCOUNT_FROM_ADDRESS.amount


def test_a_success_clears_the_account(broker_url: str) -> None:
    attempts, email = Attempts(broker_url), f"{new_id()}@x.test"
    assert attempts.broker_answers()
    tries([attempts], email, ["10.0.0.1"])
    attempts.login_succeeded(email, "10.0.0.1")
    assert tries([attempts], email, ["10.0.0.1"]) == ACCOUNT_FROM_ADDRESS.amount
