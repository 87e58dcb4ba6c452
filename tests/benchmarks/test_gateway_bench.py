"""The benchmark's own arithmetic and its two ends: a wrong ruler measures everybody wrongly."""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks.gateway.build import Wire, build
from benchmarks.gateway.ends import TARGET, FarEnd, NearEnd
from benchmarks.gateway.exactness import Account
from benchmarks.gateway.figures import medians, paired, ratio_name, with_ratios
from benchmarks.gateway.install import Unavailable
from benchmarks.gateway.peer import basic, make_clients
from benchmarks.gateway.peers import ALL, c_peers, haproxy
from benchmarks.gateway.phases import Round
from benchmarks.gateway.processes import Running
from benchmarks.gateway.report import Head, figures_of, markdown
from benchmarks.gateway.run import Entry
from benchmarks.gateway.targets import judge

from whago.main.embedded import free_port

GOOD = {
    "ours": {
        "bulk_cpu_s_per_gb": 0.4, "setups_per_s": 5000.0, "echo_p50_us": 45.0, "echo_p99_us": 120.0,
        "idle_echo_p50_us": 46.0, "idle_echo_p99_us": 125.0, "idle_kib": 1.5, "stalled_kib": 10.0,
    },
    "haproxy": {"bulk_cpu_s_per_gb": 0.38, "setups_per_s": 6000.0, "echo_p50_us": 42.0, "echo_p99_us": 110.0},
    "squid": {"bulk_cpu_s_per_gb": 1.1, "setups_per_s": 2400.0},
}  # fmt: skip


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Wire:
    return build(tmp_path_factory.mktemp("wire"))


@pytest.fixture
def far(wire: Wire) -> Iterator[FarEnd]:
    with FarEnd(wire) as end:
        yield end


def chips(wire: Wire, port: int, folder: Path, login: str) -> NearEnd:
    file = folder / "credentials"
    file.write_text(f"{login}\n")
    return NearEnd(wire, "http", port, TARGET, file)


def verdict(figures: dict[str, dict[str, float]], beginning: str) -> str:
    stalled = {key: of.get("stalled_kib") for key, of in figures.items()}
    entries = [
        Entry(peer, rounds=[Round(dict(figures[peer.key]))], stalled_kib=stalled[peer.key])
        for peer in ALL
        if peer.key in figures
    ]
    return next(one.word for one in judge(figures_of(entries), []) if one.target.startswith(beginning))


def changed(peer: str, **figures: float) -> dict[str, dict[str, float]]:
    return {**GOOD, peer: {**GOOD[peer], **figures}}


def test_the_chips_receive_exactly_what_the_origin_was_asked_for(wire: Wire, far: FarEnd, tmp_path: Path) -> None:
    with chips(wire, far.auth, tmp_path, make_clients(1)[0].upstream_basic) as near:
        reply = near.fetch(3, 1_000_003, 10_000)
    assert (reply.count, reply.bytes, reply.failed) == (3, 3_000_009, 0)


def test_a_wrong_login_is_told_as_the_problem(wire: Wire, far: FarEnd, tmp_path: Path) -> None:
    with chips(wire, far.auth, tmp_path, basic("bench-session-1", "wrong")) as near:
        reply = near.setup(4, 2_000, 2)
    assert reply.count == 0
    assert reply.failed == 4
    assert "407" in reply.problem


def test_setups_stop_at_their_number_and_echoes_are_counted(wire: Wire, far: FarEnd, tmp_path: Path) -> None:
    with chips(wire, far.auth, tmp_path, make_clients(1)[0].upstream_basic) as near:
        assert near.setup(50, 10_000, 8).count == 50
        assert near.open(20, 10_000, 8).count == 20
        echo = near.echo(300)
        assert echo.count > 0
        assert 0 < echo.p50_us <= echo.p99_us
        assert near.drop().problem == ""


def test_the_port_without_a_login_and_the_bare_origin_serve_too(wire: Wire, far: FarEnd, tmp_path: Path) -> None:
    nobody = tmp_path / "nobody"
    nobody.write_text("")
    with NearEnd(wire, "http", far.open, TARGET, nobody) as near:
        assert near.setup(5, 5_000, 2).count == 5
    with NearEnd(wire, "raw", far.raw, TARGET, nobody) as near:
        assert near.fetch(2, 10, 5_000).bytes == 20


def test_an_endless_download_ends_with_its_time(wire: Wire, far: FarEnd, tmp_path: Path) -> None:
    with chips(wire, far.auth, tmp_path, make_clients(1)[0].upstream_basic) as near:
        reply = near.bulk(2, 200)
        assert near.fetch(1, 5, 5_000).bytes == 5  # nothing of it is left for the next one
    assert reply.bytes > 0
    assert reply.seconds >= 0.2


def test_cpu_and_memory_include_children_that_live_and_that_ended(tmp_path: Path) -> None:
    script = (
        "import socket, subprocess, sys, time\n"
        "burn = 'import time\\nwhile time.process_time() < 0.3: pass'\n"
        "subprocess.run([sys.executable, '-c', burn])\n"
        "living = burn + '\\nprint(flush=True)\\ntime.sleep(60)'\n"
        "subprocess.Popen([sys.executable, '-c', living], stdout=subprocess.PIPE).stdout.readline()\n"
        "server = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n"
        "time.sleep(60)\n"
    )
    port = free_port()
    with Running([sys.executable, "-c", script, str(port)], {}, tmp_path, port) as running:
        assert running.cpu_s() >= 0.58  # 0.3 each; ended children are counted in ticks of 10 ms
        assert len(running.pids()) == 2
        assert running.memory_kib() > 1_000
    assert running.pids() == []


def test_a_program_that_ends_at_its_start_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(Unavailable, match="no such option"),
        Running([sys.executable, "-c", "print('no such option'); raise SystemExit(2)"], {}, tmp_path, free_port()),
    ):
        pass


def test_medians_use_the_rounds_that_have_a_figure() -> None:
    rounds = [Round({"a": 1.0}), Round({"a": 9.0, "b": 4.0}), Round({"a": 2.0})]
    assert medians(rounds) == {"a": 2.0, "b": 4.0}


@pytest.mark.parametrize(("ours", "theirs"), [({}, {"a": 1.0}), ({"a": 1.0}, {}), ({"a": 1.0}, {"a": 0.0})])
def test_a_ratio_needs_both_sides(ours: dict[str, float], theirs: dict[str, float]) -> None:
    assert paired([Round(ours)], [Round(theirs)], "a") is None


def test_a_ratio_is_the_median_of_those_of_the_same_rounds() -> None:
    """A machine that slowed down tenfold in between slowed both down; a round that failed has no partner."""
    ours = [Round({"a": 6.0}, number=0), Round({"a": 60.0}, number=1), Round({"a": 7.0}, number=3)]
    theirs = [Round({"a": 10.0}, number=0), Round({"a": 100.0}, number=1), Round({"a": 1.0}, number=2)]
    assert paired(ours, theirs, "a") == pytest.approx(0.6)


def test_echoes_beside_idle_tunnels_are_compared_round_by_round() -> None:
    """The medians alone, 20 and 25, would tell of a growth that two of three rounds did not have."""
    rounds = [
        Round({"echo_p50_us": quiet, "idle_echo_p50_us": beside}, number=number)
        for number, (quiet, beside) in enumerate([(10.0, 10.0), (100.0, 100.0), (20.0, 25.0)])
    ]
    figures = with_ratios(medians(rounds), rounds, {})
    assert figures[ratio_name("idle_echo_p50_us", "echo_p50_us")] == 1.0
    assert figures["idle_echo_p50_us"] / figures["echo_p50_us"] == 1.25


@pytest.mark.parametrize(
    ("beginning", "missed"),
    [
        ("CPU per GB, 16 tunnels, of HAProxy's", changed("ours", bulk_cpu_s_per_gb=0.46)),
        ("CPU per GB, 16 tunnels, better than squid's", changed("squid", bulk_cpu_s_per_gb=0.99)),
        ("tunnels set up per second, of HAProxy's", changed("ours", setups_per_s=4100.0)),
        ("tunnels set up per second, above", changed("squid", setups_per_s=5001.0)),
        ("echo p50, of HAProxy's", changed("ours", echo_p50_us=55.0)),
        ("echo p99, of HAProxy's", changed("ours", echo_p99_us=166.0)),
        ("echo p50 with idle", changed("ours", idle_echo_p50_us=49.6)),
        ("echo p99 with idle", changed("ours", idle_echo_p99_us=133.0)),
        ("KiB per idle", changed("ours", idle_kib=2.1)),
        ("KiB per tunnel whose client", changed("ours", stalled_kib=65.0)),
    ],
)
def test_a_target_is_passed_and_missed(beginning: str, missed: dict[str, dict[str, float]]) -> None:
    assert verdict(GOOD, beginning) == "PASS"
    assert verdict(missed, beginning) == "FAIL"


def test_what_was_not_measured_is_not_passed() -> None:
    words = {one.word for one in judge({}, [])}
    assert words == {"NOT MEASURED"}
    assert verdict(GOOD, "CPU per GB, 16 tunnels, better than 3proxy's") == "NOT MEASURED"


def test_a_broken_account_fails_its_target() -> None:
    broken = [Account("limit", False, "1 byte over")]
    assert judge({}, broken)[-1].word == "FAIL"


def test_an_absent_peer_is_a_row_that_says_why() -> None:
    entries = [
        Entry(haproxy.HTTP, version="2.6", rounds=[Round(dict(GOOD["haproxy"]))]),
        Entry(c_peers.GOST, absent="there is no such package"),
    ]
    text = markdown(Head("today", "command", "machine", 20_000, 3, 5_000, 30.0), entries, [])
    assert "| gost | not measured |" in text
    assert "not measured: there is no such package" in text
    assert f"| {haproxy.HTTP.title} | 0.38 | 1.00 |" in text
    assert figures_of(entries).keys() == {"haproxy"}


def test_every_peer_says_what_it_cannot_do() -> None:
    assert len({peer.key for peer in ALL}) == len(ALL)
    assert all(peer.as_run for peer in ALL)
    silent = {peer.key for peer in ALL if not peer.cannot}
    assert silent == {"none", "ours", "ours-memory", "luminati-proxy"}


def test_socks_credentials_are_split_for_the_login_message() -> None:
    clients = make_clients(2)
    assert base64.b64decode(clients[1].basic).decode() == f"{clients[1].name}:{clients[1].token}"
    assert c_peers.DANTE.credentials(clients) == ""
    assert haproxy.HTTP.credentials(clients).splitlines() == [client.basic for client in clients]
