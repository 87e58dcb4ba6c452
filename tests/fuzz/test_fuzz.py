"""A bounded run of the coverage-guided fuzzer on every target, and proof that its properties can break."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest

from tests.fuzz import properties
from tests.fuzz.properties import MAX_HEAD_BYTES, TARGETS, Talk, talk_client
from whago.gateway.counters import NotACounterFile
from whago.gateway.protocol.client_http import HttpClient

CORPUS = Path(__file__).parent / "corpus"
RUNS = 4000  # two seconds each; the long run is python -m tests.fuzz
SEED = 20251115
CUT = b"\x40\x80\xc0"


@pytest.mark.parametrize("target", TARGETS)
def test_no_input_of_a_bounded_run_breaks_a_property(target: str, tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="atheris has packages for Linux on x86-64 only")
    command = [sys.executable, "-m", "tests.fuzz", target, "--runs", str(RUNS), "--seed", str(SEED)]
    run = subprocess.run([*command, "--found", str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr[-3000:]
    assert list(tmp_path.glob("crash-*")) == []
    assert f"Done {RUNS} runs" in run.stderr
    covered = [int(edges) for edges in re.findall(r"\bcov: (\d+)", run.stderr)]
    assert covered[-1] > 30, "the parser is not instrumented, so nothing guides the fuzzer"


@pytest.mark.parametrize("seed", sorted(CORPUS.glob("*/*")), ids=lambda seed: f"{seed.parent.name}-{seed.name}")
def test_the_properties_hold_for_the_seeds(seed: Path) -> None:
    TARGETS[seed.parent.name](seed.read_bytes())


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_has_seeds(target: str) -> None:
    assert len(list((CORPUS / target).iterdir())) >= 5


def test_an_upstreams_reply_code_is_read_before_its_reserved_byte() -> None:
    """Found by the fuzzer: whole, the answer was a lie; in pieces, a refusal."""
    TARGETS["socks5_upstream"](CUT + b"\x05\x02\x01\x00\x05\x05\x07\x01")


def test_a_time_that_no_calendar_has_is_a_torn_slot() -> None:
    """Found by the fuzzer: the checksum of such a slot is right."""
    content = properties._header(UUID(int=1)) + properties._sealed(b"\xff" * 136)
    found = properties._read(content)
    assert not isinstance(found, str)
    assert (found.usages, found.torn) == ([], 1)


class _Forgets(HttpClient):
    """Loses what came behind the head."""

    def rest(self) -> bytes:
        return super().rest()[:-1]


class _Hoards(HttpClient):
    """Never finds the end of a head that did not come at once."""

    def _find_end(self) -> int:
        return -1


class _Hurries(HttpClient):
    """Takes what came first for the whole head."""

    def _find_end(self) -> int:
        return len(self._buffer)


class _Breaks(HttpClient):
    def _parse(self) -> None:
        if b"\xff" in self._buffer:
            raise IndexError
        super()._parse()


def _begins_with(kind: type[HttpClient]) -> Talk:
    def begin(first: bytes) -> HttpClient:
        handshake = kind()
        handshake.receive(first)
        return handshake

    return lambda chunks: talk_client(chunks, begin)


@pytest.mark.parametrize(
    ("kind", "seed"), [(_Forgets, "good"), (_Forgets, "content")], ids=["with a tunnel's bytes", "after a length of 0"]
)
def test_lost_bytes_are_found(kind: type[HttpClient], seed: str) -> None:
    with pytest.raises(AssertionError, match=r"not what was sent|means something else"):
        properties._every_cut((CORPUS / "http_client" / seed).read_bytes(), _begins_with(kind))


def test_a_parser_that_minds_the_cuts_is_found() -> None:
    with pytest.raises(AssertionError, match="means something else"):
        properties._every_cut(CUT + b"CONNECT a:1 HTTP/1.1\r\n\r\n", _begins_with(_Hurries))


def test_a_buffer_without_bound_is_found() -> None:
    with pytest.raises(AssertionError, match="keeps more than a head"):
        properties._every_cut(CUT + b"CONNECT a:1 HTTP/1.1\r\n" + b"x" * MAX_HEAD_BYTES, _begins_with(_Hoards))


def test_an_exception_is_found() -> None:
    with pytest.raises(IndexError):
        properties._every_cut(CUT + b"CONNECT \xff", _begins_with(_Breaks))


def test_a_refusal_without_a_sentence_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def speechless(_: bytes) -> None:
        raise NotACounterFile

    monkeypatch.setattr(properties, "read_counters", speechless)
    with pytest.raises(AssertionError, match="sentence"):
        TARGETS["counter_file"](b"\0\0\0")
