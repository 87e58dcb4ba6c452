"""Too much at once, and parts that are gone: each part sheds what it cannot do, goes on with the rest, and recovers."""

from __future__ import annotations

import resource
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.faults.far_end import SMALL_HOST, Talks
from tests.gateway.crowd import Crowd
from tests.gateway.wire import open_http, read_exactly
from tests.topology.conftest import Site
from tests.topology.debian import DebianRedis
from tests.topology.installation import ADMIN, HAPPENS_S, Office, Person, Served, ready, soon

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ACCOUNTS, TRIES = 4, 30  # of each: ten are looked at in five minutes, the others are refused
AT_ONCE = 40
SPARE_DESCRIPTORS = 1_000
CHIPS = 20
STORM_FROM = "203.0.113.9"  # the counts of attempts go by address: the test's own logins come from elsewhere


def test_thousands_of_tunnels_and_a_storm_of_logins_at_once(site: Site, request: pytest.FixtureRequest) -> None:
    """``--crowd 10000`` for the whole figure."""
    tunnels = request.config.getoption("--crowd")
    web_a, web_b = site.webs
    have_descriptors(2 * tunnels + SPARE_DESCRIPTORS)
    with Crowd() as crowd:
        office = Office(web_a, crowd, priority=1)
        customer = office.customer()
        chips = [customer.new_chip(web_a).credential for _ in range(max(CHIPS, tunnels // 32 + 1))]
        storm = Storm(web_b)
        storm.start()
        clients = [
            client
            for gateway in site.gateways
            for client in crowd.open(gateway.port, chips, f"{SMALL_HOST}:443", tunnels // 2)
        ]
        storm.join(HAPPENS_S * 2)
        assert not storm.is_alive()
        assert set(storm.statuses) <= {401, 429, 503}, storm.statuses
        assert storm.statuses[429] > 0, "shed by the counts of attempts"
        assert storm.told_when, "and each is told when to come back"
        crowd.echo(clients, b"hello")
        assert in_patience(lambda: Person(web_b, *ADMIN).id), "whoever has nothing to do with it signs in"
        crowd.close(clients)
        soon(lambda: customer.used_bytes(web_b) == crowd.wire)
        office.withdraw()


def have_descriptors(count: int) -> None:
    """Both ends of every tunnel are in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        pytest.skip(f"so many tunnels take {count} open files, and ulimit -Hn says {hard}")
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


class Storm(threading.Thread):
    """Many logins of a few accounts, as fast as they are answered."""

    def __init__(self, web: Served) -> None:
        super().__init__(daemon=True)
        self.statuses: Counter[int] = Counter()
        self.told_when = True
        self._url = f"http://{web.address}:{web.port}/api/v1/auth/login"

    def run(self) -> None:
        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(self._try, range(ACCOUNTS * TRIES)))

    def _try(self, number: int) -> None:
        body = {"email": f"stormy{number % ACCOUNTS}@example.com", "password": "not-the-right-one"}
        headers = {"X-Forwarded-For": STORM_FROM}
        answer = httpx.post(self._url, json=body, headers=headers, timeout=HAPPENS_S, trust_env=False)
        self.statuses[answer.status_code] += 1
        if answer.status_code in (429, 503) and int(answer.headers.get("Retry-After", "0")) <= 0:
            self.told_when = False


def in_patience(attempt: object) -> object:
    """The answer, when the busy web gives one: 503 is an invitation to come again."""
    deadline = time.monotonic() + HAPPENS_S
    while True:
        try:
            return attempt()  # type: ignore[operator]
        except AssertionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def test_without_the_broker_web_and_gateways_go_on_and_the_clocks_catch_up(
    site: Site, debian_redis: DebianRedis
) -> None:
    web_a, web_b = site.webs
    ready(site.worker, site.beat)
    customer = site.office.customer()
    chip = Talks(site.gateways[0].port, *customer.new_chip(web_a).credential)
    chip.start()
    assert chip.moving.wait(HAPPENS_S)
    debian_redis.stop()
    try:
        soon(lambda: parts_of(web_a)["broker"]["status"] == "unavailable")
        before = chip.rounds
        assert Person(web_b, *ADMIN).id, "people sign in"
        open_http(site.gateways[0].port, *customer.new_chip(web_b).credential, f"{SMALL_HOST}:443").close()
        soon(lambda: chip.rounds > before + 5)
    finally:
        debian_redis.start()
    back_at = last_beat(web_a)
    soon(lambda: last_beat(web_a) > back_at)
    assert parts_of(web_a)["broker"]["status"] == "ok"
    chip.stop()
    assert chip.refused == 0
    assert site.worker.part.lives
    assert site.beat.part.lives


def parts_of(web: Served) -> dict[str, dict[str, str]]:
    answer = httpx.get(f"http://{web.address}:{web.port}/readyz", timeout=HAPPENS_S, trust_env=False)
    assert answer.status_code == 200, "a web without a broker serves"
    parts: dict[str, dict[str, str]] = answer.json()["parts"]
    return parts


def last_beat(web: Served) -> str:
    return str(parts_of(web)["scheduler"]["last_beat_at"])


def test_a_part_whose_log_has_no_room_works_on(site: Site) -> None:
    """Standard error is a full disk for all of them."""
    installation = site.installation
    installation.log_to = Path("/dev/full")
    try:
        gateway, *others = installation.gateway(), installation.web(), installation.worker(), installation.beat()
    finally:
        installation.log_to = None
    ready(gateway, *others)
    customer = site.office.customer()
    with open_http(gateway.port, *customer.new_chip(site.webs[0]).credential, f"{SMALL_HOST}:443") as tunnel:
        tunnel.sendall(b"get 1000\n")
        assert read_exactly(tunnel, 1000) == bytes(1000)
    for one in (gateway, *others):
        one.part.ask_to_stop()
    codes = {one.part.wait() for one in (gateway, *others)}
    assert codes <= {0, -signal.SIGTERM}, "uvicorn ends by the signal that it was asked with"
