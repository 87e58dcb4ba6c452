"""What the vendor counts equals what an independent client sent and received, to the byte."""

from __future__ import annotations

import os
import socket
import threading
import time

import pytest

from tests.simulator.counting_client import CountingClient, EchoOrigin, connect_head, eventually
from whago.simulator import SimulatedProvider

HOST = "mmg.whatsapp.net"


def _exchange(client: CountingClient) -> None:
    """An odd-sized upload and download over the traffic origin, checked byte by byte."""
    client.send(b"POST /sink HTTP/1.1\r\nHost: x\r\nContent-Length: 123457\r\n\r\n" + os.urandom(123457))
    assert client.read_response() == (200, b'{"received": 123457}\n')
    client.send(b"GET /bytes/1234567 HTTP/1.1\r\nHost: x\r\n\r\n")
    status, body = client.read_response()
    assert status == 200
    assert body == bytes(i % 251 for i in range(1234567))


def test_http_connect_is_counted_to_the_byte(provider: SimulatedProvider) -> None:
    head = connect_head("demo-session-1", f"{HOST}:443")
    with CountingClient(provider.port) as client:
        assert client.connect("demo-session-1", f"{HOST}:443") == 200
        handshake_down = client.received
        _exchange(client)
        counted = provider.session("1")
        assert (counted["wire_up"], counted["wire_down"]) == (client.sent, client.received)
        assert (counted["handshake_up"], counted["handshake_down"]) == (len(head), handshake_down)
        assert counted["wire_total"] == client.sent + client.received


def test_socks5_is_counted_to_the_byte(provider: SimulatedProvider) -> None:
    with CountingClient(provider.port) as client:
        assert client.socks_connect("demo-session-1", HOST, 443) == 0
        handshake = (client.sent, client.received)
        _exchange(client)
        counted = provider.session("1")
        assert (counted["handshake_up"], counted["handshake_down"]) == handshake
        assert (counted["wire_up"], counted["wire_down"]) == (client.sent, client.received)


def test_concurrent_tunnels_are_counted_exactly_and_the_accounts_are_the_sum(
    provider: SimulatedProvider, origin: EchoOrigin
) -> None:
    ends: list[tuple[int, int]] = []

    def chat(number: int) -> None:
        username = f"{'demo' if number % 2 else 'acme-br'}-session-{number // 4}"
        with CountingClient(provider.port) as client:
            if number % 3:
                assert client.connect(username, origin.target) == 200
            else:
                assert client.socks_connect(username, "127.0.0.1", origin.port) == 0
            for size in (1, 77 + number, 60_001, 3):
                payload = os.urandom(size)
                client.send(payload)
                assert client.read(size) == payload
            ends.append((client.sent, client.received))

    threads = [threading.Thread(target=chat, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ends) == 24
    state = provider.state()
    assert state["totals"]["wire_up"] == sum(up for up, _ in ends)
    assert state["totals"]["wire_down"] == sum(down for _, down in ends)
    for account in ("demo", "acme-br"):
        of_sessions = sum(one["wire_total"] for one in provider.sessions() if one["account"] == account)
        assert state["accounts"][account]["wire_total"] == of_sessions > 0
    assert state["unattributed"]["wire_total"] == 0


@pytest.mark.parametrize("early", [b"z", b"early bytes" * 1000])
def test_bytes_behind_the_connect_are_tunnel_bytes_and_not_lost(
    provider: SimulatedProvider, origin: EchoOrigin, early: bytes
) -> None:
    head = connect_head("demo-session-1", origin.target)
    with CountingClient(provider.port) as client:
        client.send(head + early)
        client.read_head()
        assert client.read(len(early)) == early
        counted = provider.session("1")
        assert counted["handshake_up"] == len(head)
        assert counted["wire_up"] == len(head) + len(early)


def test_a_handshake_cut_anywhere_is_the_same_handshake(provider: SimulatedProvider, origin: EchoOrigin) -> None:
    stream = connect_head("demo-session-1", origin.target) + b"tail"
    for cut in range(1, len(stream), 5):
        with CountingClient(provider.port) as client:
            client.send(stream[:cut])
            time.sleep(0.002)
            client.send(stream[cut:])
            assert client.read_head().startswith(b"HTTP/1.1 200 ")
            assert client.read(4) == b"tail"
    counted = provider.session("1")
    tunnels = counted["tunnels_total"]
    assert tunnels == len(range(1, len(stream), 5))
    assert counted["wire_up"] == tunnels * len(stream)
    assert counted["handshake_up"] == tunnels * (len(stream) - 4)


def test_a_half_closed_upload_still_gets_its_answer(provider: SimulatedProvider, origin: EchoOrigin) -> None:
    payload = os.urandom(300_000)
    with CountingClient(provider.port) as client:
        assert client.connect("demo-session-1", origin.target) == 200

        def upload() -> None:
            client.send(payload)
            client.sock.shutdown(socket.SHUT_WR)

        writer = threading.Thread(target=upload)
        writer.start()
        assert client.read_to_end() == payload
        writer.join()
        counted = provider.session("1")
    assert (counted["wire_up"], counted["wire_down"]) == (client.sent, client.received)
    eventually(lambda: provider.session("1")["open_tunnels"] == 0)


def test_an_origin_that_ends_first_can_still_be_written_to(provider: SimulatedProvider) -> None:
    got = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def half_closing_origin() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.shutdown(socket.SHUT_WR)
                while chunk := sock.recv(65536):
                    got.extend(chunk)

        thread = threading.Thread(target=half_closing_origin)
        thread.start()
        with CountingClient(provider.port) as client:
            assert client.connect("demo-session-1", f"127.0.0.1:{listener.getsockname()[1]}") == 200
            assert client.read_to_end() == b""
            client.send(b"still here")
            client.sock.shutdown(socket.SHUT_WR)
            thread.join()
    assert bytes(got) == b"still here"


def test_bytes_of_a_refused_request_are_counted_for_the_session(
    provider: SimulatedProvider, origin: EchoOrigin
) -> None:
    provider.switch(refuse_connect=503)
    with CountingClient(provider.port) as client:
        assert client.connect("demo-session-1", origin.target) == 503
        client.sock.shutdown(socket.SHUT_WR)
        assert client.read_to_end() == b""
        counted = provider.session("1")
        assert (counted["wire_up"], counted["wire_down"]) == (client.sent, client.received)
        assert (counted["handshake_up"], counted["handshake_down"]) == (client.sent, client.received)


def test_bytes_of_a_stranger_belong_to_nobody(provider: SimulatedProvider, origin: EchoOrigin) -> None:
    with CountingClient(provider.port) as client:
        assert client.connect("demo-session-1", origin.target, password="wrong") == 407
        client.sock.shutdown(socket.SHUT_WR)
        client.read_to_end()
        sent, received = client.sent, client.received
    eventually(lambda: provider.state()["clients"] == 0)
    state = provider.state()
    assert (state["unattributed"]["wire_up"], state["unattributed"]["wire_down"]) == (sent, received)
    assert state["totals"]["wire_total"] == 0


def test_a_client_that_stops_reading_is_not_buffered_nor_billed_for_what_it_never_got(
    provider: SimulatedProvider,
) -> None:
    total = 200_000_000
    with CountingClient(provider.port) as client:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        assert client.connect("demo-session-1", f"{HOST}:443") == 200
        client.send(b"GET /bytes/%d HTTP/1.1\r\nHost: x\r\n\r\n" % total)
        counts = [-1, 0]
        while counts[-1] != counts[-2] or counts[-1] < 65536:  # until the buffers of the kernel are full
            time.sleep(0.1)
            counts.append(provider.session("1")["wire_down"])
        assert counts[-1] < total // 4
        status, body = client.read_response()
        assert (status, len(body)) == (200, total)
        assert provider.session("1")["wire_down"] == client.received


def test_a_client_that_breaks_off_is_told_to_the_origin(provider: SimulatedProvider) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, CountingClient(provider.port) as client:
        assert client.connect("demo-session-1", f"127.0.0.1:{listener.getsockname()[1]}") == 200
        at_origin, _ = listener.accept()
        at_origin.settimeout(10)
        with at_origin:
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.sock.close()
            with pytest.raises(ConnectionResetError):
                at_origin.recv(1)
    eventually(lambda: provider.session("1")["open_tunnels"] == 0)
