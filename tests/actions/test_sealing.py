"""Rotation of keys: nothing is lost, nobody waits, and no sealed column is forgotten."""

from __future__ import annotations

import dataclasses
import threading
from uuid import UUID, uuid4

import pytest
from sqlalchemy import JSON, LargeBinary, select

from tests.actions.test_providers import WANTED
from tests.conftest import SECRET
from tests.factories import NOW, make_provider, make_proxy, make_user
from whago.domain.actions.channels import ChannelWishes, create_webhook, renew_secret
from whago.domain.actions.providers import update_provider
from whago.domain.actions.sealing import reseal
from whago.domain.models import Base, Channel, Provider, Proxy
from whago.domain.models.sealing import SEALED_COLUMNS, SealedColumn
from whago.domain.queries.sealing import look_at_seals
from whago.errors import WhagoError
from whago.kit.crypto import Vault
from whago.kit.db import transaction
from whago.main.rotate_keys import count_seals, rotate

NEWER = "another-secret-key-with-more-than-32-characters"
OLD, BOTH, NEW = Vault([SECRET]), Vault([NEWER, SECRET]), Vault([NEWER])

PLAIN = {  # binary and JSON columns that hold no secret, or one that cannot be opened by anybody (a hash)
    "alerts.data", "audit_log.data", "chip_events.data", "clock_runs.counts", "chips.thrift", "customer_events.data",
    "notifications.data", "provider_calibrations.steps", "provider_calibrations.fit", "report_runs.content",
    "api_keys.key_hash", "channels.confirm_hash", "chips.gateway_token_hash", "password_resets.token_hash",
    "refresh_tokens.token_hash", "recovery_codes.code_hash", "chip_signal_keys.name",
}  # fmt: skip
BY_CHIPS_KEY = {"chip_holds.creds", "chip_signal_keys.value"}  # sealed by the bridge with the chip's own key


def column_of(model: type[Base], name: str) -> SealedColumn:
    return next(one for one in SEALED_COLUMNS if one.content is getattr(model, name))


CREDENTIALS = column_of(Provider, "credentials")


def stored(provider_id: UUID) -> dict[str, object]:
    with transaction() as db:
        return db.scalars(select(Provider.credentials).where(Provider.id == provider_id)).one()


def test_every_column_that_could_hold_a_sealed_secret_is_classified() -> None:
    """A new one belongs into SEALED_COLUMNS when the vault seals it, else into PLAIN with a thought."""
    found = {
        f"{table.name}.{column.name}"
        for table in Base.metadata.sorted_tables
        for column in table.columns
        if isinstance(column.type, (LargeBinary, JSON)) or "secret" in column.name or "sealed" in column.name
    }
    sealed = {f"{one.table}.{one.content.key}" for one in SEALED_COLUMNS}
    assert found == sealed | PLAIN | BY_CHIPS_KEY


def test_an_earlier_secret_is_told_from_the_newest_and_from_none() -> None:
    sealed = OLD.seal({"password": "x"})
    assert OLD.is_current(sealed)
    assert not BOTH.is_current(sealed)
    assert BOTH.is_current(BOTH.reseal(sealed))
    assert BOTH.is_current({})
    with pytest.raises(WhagoError) as refused:
        NEW.is_current(sealed)
    assert refused.value.code == "unavailable"


def test_what_is_sealed_is_sealed_again_and_a_second_time_changes_nothing(database: str) -> None:
    provider = make_provider(OLD)
    make_proxy(provider, credentials=OLD.seal({"username": "u", "password": "p"}))
    make_proxy(provider)  # with nothing of its own
    create_webhook(
        make_user().id, "https://crm.example/hook", ChannelWishes(name="crm"), sealed_secret=OLD.seal({"s": 1}), now=NOW
    )
    assert {one.noun: one.old for one in count_seals(BOTH) if one.rows} == {
        "provider credentials": 1, "proxy credentials": 1, "webhook secrets": 1,
    }  # fmt: skip
    assert [rotate(column, BOTH).resealed for column in SEALED_COLUMNS] == [1, 1, 1, 0, 0, 0]
    once = stored(provider.id)
    assert NEW.open(once) == {"username": "demo", "password": "demo-password"}
    assert [rotate(column, BOTH).resealed for column in SEALED_COLUMNS] == [0] * len(SEALED_COLUMNS)
    assert stored(provider.id) == once
    assert not any(one.old or one.shut for one in count_seals(NEW))


def test_what_no_secret_opens_is_told_by_its_id_and_left_as_it_is(database: str) -> None:
    readable, other = make_provider(OLD), make_provider(Vault(["somebody else's secret of long ago"]))
    before = stored(other.id)
    count = rotate(CREDENTIALS, BOTH)
    assert (count.rows, count.resealed, count.shut) == (2, 1, [other.id])
    assert stored(other.id) == before
    assert NEW.open(stored(readable.id))


def test_it_never_waits_for_a_row_that_somebody_holds(database: str) -> None:
    held, free = make_provider(OLD), make_provider(OLD)
    with transaction() as db:
        db.scalars(select(Provider).where(Provider.id == held.id).with_for_update()).one()
        assert reseal(CREDENTIALS, [held.id, free.id], vault=BOTH) == (1, frozenset({held.id}))
    assert reseal(CREDENTIALS, [held.id, free.id], vault=BOTH) == (1, frozenset())


def test_a_row_that_went_meanwhile_is_nobodys_concern(database: str) -> None:
    assert reseal(CREDENTIALS, [uuid4()], vault=BOTH) == (0, frozenset())


def test_batches_pass_over_every_row_once(database: str) -> None:
    provider = make_provider()
    made = {make_proxy(provider, credentials=OLD.seal({"password": str(n)})).id for n in range(7)}
    column, last, seen = column_of(Proxy, "credentials"), None, []
    while True:
        look = look_at_seals(column, last, vault=BOTH, limit=3)
        seen += look.old
        if look.last is None:
            break
        last = look.last
    assert len(seen) == 7
    assert set(seen) == made


def test_writers_beside_two_rotations_lose_nothing(database: str) -> None:
    """Credentials change under the old and the new secret while two commands run: the last word of each stays."""
    providers = [make_provider(OLD) for _ in range(4)]
    user = make_user()
    hooks = [
        create_webhook(user.id, "https://crm.example", ChannelWishes(name=f"{n}"), sealed_secret=OLD.seal({}), now=NOW)
        for n in range(2)
    ]
    by_old_process = Vault([SECRET, NEWER])  # started before the secret was exchanged
    done = threading.Event()

    def run_command() -> None:
        while not done.is_set():
            for column in SEALED_COLUMNS:
                rotate(column, BOTH)

    rotations = [threading.Thread(target=run_command) for _ in range(2)]
    for thread in rotations:
        thread.start()
    for turn in range(10):
        writer = (by_old_process, BOTH)[turn % 2]
        for number, provider in enumerate(providers):
            wanted = dataclasses.replace(WANTED, name=provider.name, credentials={"turn": str(turn)})
            update_provider(None, provider.id, wanted, vault=writer, now=NOW)
            if number < len(hooks):
                renew_secret(user.id, hooks[number], sealed_secret=writer.seal({"turn": turn}), now=NOW)
    done.set()
    for thread in rotations:
        thread.join()
    for column in SEALED_COLUMNS:
        rotate(column, BOTH)
    assert [NEW.open(stored(one.id))["turn"] for one in providers] == ["9"] * len(providers)
    with transaction() as db:
        assert [NEW.open(secret) for secret in db.scalars(select(Channel.secret).where(Channel.kind == "webhook"))] == [
            {"turn": 9}
        ] * len(hooks)
