"""A start over the operator's own servers: it waits for them, goes by TLS, and says in a sentence what cannot be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from kombu.exceptions import OperationalError
from sqlalchemy import text

from tests.topology.certificates import Certificates, make_certificates
from tests.topology.debian import DebianPostgres, DebianRedis
from tests.topology.installation import Installation, Part, ready, soon
from whago.errors import SettingsError, WhagoError
from whago.kit import broker, db
from whago.main.embedded import free_port
from whago.main.leash import TryLater
from whago.main.servers import look_for_broker, wait_for_broker, wait_for_database
from whago.settings import load
from whago.tasks.app import make_beat_app
from whago.web.attempts import Attempts

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@dataclass
class Sealed:
    """Servers that speak TLS alone."""

    certificates: Certificates
    postgres: DebianPostgres
    redis: DebianRedis


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sealed]:
    certificates = make_certificates(tmp_path_factory.mktemp("tls"))
    with ExitStack() as stack:
        postgres = stack.enter_context(DebianPostgres(certificates=certificates))
        redis = stack.enter_context(DebianRedis(certificates=certificates))
        yield Sealed(certificates, postgres, redis)


def test_every_part_waits_for_servers_that_come_up_late_and_goes_by_tls(sealed: Sealed, tmp_path: Path) -> None:
    sealed.postgres.stop()
    sealed.redis.stop()
    installation = Installation(sealed.postgres.url(), sealed.redis.url(), tmp_path)
    try:
        migrate = installation.run("migrate")
        served = [installation.web(), installation.gateway(), installation.worker(), installation.beat()]
        for part in (migrate, *(one.part for one in served)):
            soon(lambda part=part: "start.waiting" in part.said)  # type: ignore[misc]
        assert all(part.lives for part in installation.parts)
        sealed.postgres.start()
        sealed.redis.start()
        assert migrate.wait() == 0, migrate.said
        ready(*served)
        assert not any("Traceback" in part.said for part in installation.parts)
    finally:
        installation.__exit__(None, None, None)


def test_a_server_that_does_not_come_ends_the_start_with_a_sentence(tmp_path: Path) -> None:
    port = free_port()
    installation = Installation(f"postgresql://whago:pw@127.0.0.1:{port}/whago", "redis://127.0.0.1:1", tmp_path)
    installation.settings["WHAGO_START_WAIT_S"] = "0"
    asked: list[Part] = [installation.run("migrate"), installation.run("beat")]
    assert [part.wait() for part in asked] == [1, 1], "a later start may well succeed"
    assert f"WHAGO_DATABASE_URL: 127.0.0.1:{port} did not answer within 0 s" in asked[0].said
    assert "WHAGO_BROKER_URL: 127.0.0.1:1 did not answer within 0 s" in asked[1].said
    assert not any("Traceback" in part.said for part in asked)


def test_a_gateway_waits_until_the_database_is_migrated(own_database: str) -> None:
    wait_for_database(own_database, 0)
    with pytest.raises(TryLater, match="run whago migrate"):
        wait_for_database(own_database, 0, migrated=True)


def test_a_database_whose_certificate_is_by_another_authority_is_refused(sealed: Sealed) -> None:
    good = sealed.postgres.url()
    wait_for_database(good, 0)
    for wrong in (
        good.replace(str(sealed.certificates.authority), str(sealed.certificates.stranger)),
        good.replace("127.0.0.1", "localhost"),  # which the certificate does not name
        good.replace(str(sealed.certificates.authority), "/nowhere/ca.pem"),
        good.replace("verify-full", "verify-fully"),
    ):
        with pytest.raises(SettingsError, match="WHAGO_DATABASE_URL: "):
            wait_for_database(wrong, 0)


def test_a_broker_whose_certificate_is_by_another_authority_is_refused(sealed: Sealed) -> None:
    good = sealed.redis.url()
    wait_for_broker(good, 0)
    for wrong in (
        good.replace(str(sealed.certificates.authority), str(sealed.certificates.stranger)),
        good.replace("127.0.0.1", "localhost"),
        good.replace(str(sealed.certificates.authority), "/nowhere/ca.pem"),
        good.partition("?")[0],  # the system's authorities do not know it
        good.replace("an-operators-password", "another"),
    ):
        for ask in (lambda url: wait_for_broker(url, 0), look_for_broker):
            with pytest.raises(SettingsError, match="WHAGO_BROKER_URL: "):
                ask(wrong)


def test_the_brokers_clients_check_its_certificate_too(sealed: Sealed) -> None:
    """Not only the look at the start: Celery's connections and the counts of attempts."""
    good = sealed.redis.url()
    wrong = good.replace(str(sealed.certificates.authority), str(sealed.certificates.stranger))
    assert Attempts(good).broker_answers()
    assert not Attempts(wrong).broker_answers()
    assert celery_reaches(good)
    assert not celery_reaches(wrong)


def celery_reaches(url: str) -> bool:
    with make_beat_app(url, ()).connection_for_write() as connection:
        try:
            connection.default_channel.client.ping()
        except (OSError, OperationalError):
            return False
        return True


@pytest.mark.parametrize("weak", ["ssl_cert_reqs=none", "ssl_cert_reqs=optional", "ssl_check_hostname=false"])
def test_an_unchecked_certificate_cannot_be_asked_for(weak: str) -> None:
    with pytest.raises(SettingsError, match=r"WHAGO_BROKER_URL: must not say ssl_"):
        load({"WHAGO_BROKER_URL": f"rediss://host/0?{weak}"})
    assert load({"WHAGO_BROKER_URL": "rediss://host/0?ssl_cert_reqs=required"}).broker_url is not None


def test_a_plain_broker_has_no_tls_options() -> None:
    assert broker.tls_options("redis://:pw@host:1/0") is None
    assert broker.without_tls("rediss://:pw@host:1/0?ssl_ca_certs=/ca&client_name=x") == (
        "rediss://:pw@host:1/0?client_name=x"
    )
    assert broker.location("rediss://:pw@host") == "host:6379"


def test_a_process_opens_no_more_connections_than_it_may(database: str) -> None:
    """And each of them has its limits, told to the server itself."""
    try:
        engine = db.connect(database, pool_size=20, most=5)
        held = [engine.connect() for _ in range(5)]
        assert engine.pool.overflow() == 0  # type: ignore[attr-defined]
        shown = {
            name: held[0].exec_driver_sql(f"SHOW {name}").scalar()
            for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
        }
        assert shown == {
            "statement_timeout": "30s", "lock_timeout": "10s", "idle_in_transaction_session_timeout": "5min",
        }  # fmt: skip
        for connection in held:
            connection.close()
        assert engine.pool.size() == 5  # type: ignore[attr-defined]
    finally:
        db.engine().dispose()
        db.connect(database)


@pytest.mark.parametrize("state", ["53100", "53200", "53300"])
def test_a_database_without_room_is_unavailable_and_no_bug(database: str, state: str) -> None:
    """Its disk, memory or connections are used up."""
    with pytest.raises(WhagoError) as told, db.transaction() as tx:
        tx.execute(text(f"DO $$ BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = '{state}'; END $$"))
    assert told.value.code == "unavailable"


def test_the_settings_reach_the_processes() -> None:
    settings = load({"WHAGO_DATABASE_CONNECTIONS": "12", "WHAGO_START_WAIT_S": "5", "WHAGO_GATEWAY_DRAIN_S": "90"})
    assert (settings.database_connections, settings.start_wait_s, settings.gateway_drain_s) == (12, 5.0, 90.0)
    with pytest.raises(SettingsError, match="WHAGO_DATABASE_CONNECTIONS"):
        load({"WHAGO_DATABASE_CONNECTIONS": "1"})
