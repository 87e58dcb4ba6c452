"""The simulated provider as a process of its own."""

from __future__ import annotations

import re
import signal
import subprocess
import sys

import httpx
import pytest

from tests.simulator.counting_client import CountingClient
from whago.main.simulate import run

ARGUMENTS = "port=0, admin_port=0, account=['acme:pw:1'], static=2, target=['*.example.test=127.0.0.1:9'], id_max=12"


def test_it_announces_itself_serves_and_stops_on_sigterm() -> None:
    program = f"from whago.main.simulate import run; run({ARGUMENTS})"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            ready = re.fullmatch(
                r"simulated provider ready: proxy 127\.0\.0\.1:(\d+) \(HTTP CONNECT and SOCKS5\), admin (\S+)\n",
                process.stdout.readline(),
            )
            assert ready is not None
            statics = [process.stdout.readline().strip() for _ in range(2)]
            assert statics[1] == f"127.32.0.2:{ready[1]}:static2:static-password-2"
            with CountingClient(int(ready[1])) as client:
                assert client.connect("acme-session-1", "ip.simulated.test:80", "pw:1") == 200
                sessions = httpx.get(f"{ready[2]}/sessions", trust_env=False).json()["items"]
                assert sessions[0]["wire_up"] == client.sent
                process.send_signal(signal.SIGTERM)
                assert process.wait(10) == 0
        finally:
            process.kill()


@pytest.mark.parametrize(
    "arguments",
    [
        {"account": ["no-password"]},
        {"account": ["bad name:x"]},
        {"country": "ZZ"},
        {"static": 100_000},
        {"target": ["x=8.8.8.8:53"]},
        {"exit_network": "10.0.0.0/8"},
        {"exit_network": "127.0.0.0/24"},
        {"usage_lag_s": -1},
        {"bytes_per_kb": 1},
    ],
)
def test_a_bad_argument_stops_it_before_it_listens(arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the sentences differ; each names its argument
        run(port=0, admin_port=0, **arguments)  # type: ignore[arg-type]
