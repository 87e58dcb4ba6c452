"""The loop's selector: asyncio and the tunnels on one epoll."""

from __future__ import annotations

import asyncio
import os
import select
import selectors
import socket
import threading

import pytest

from whago.gateway import poller
from whago.gateway.poller import ROUNDS, News, Poller


def test_tunnels_hear_of_their_descriptors_and_asyncio_of_its_own() -> None:
    async def run() -> None:
        loop = poller.running_loop()
        heard: list[News] = []
        ours, our_peer = socket.socketpair()
        its, its_peer = socket.socketpair()
        its.setblocking(False)
        with ours, our_peer, its, its_peer:
            loop.poller.on_news = heard.append
            loop.poller.epoll.register(ours.fileno(), select.EPOLLIN)
            our_peer.send(b"for a tunnel")
            its_peer.send(b"for asyncio")
            assert await loop.sock_recv(its, 100) == b"for asyncio"
            await asyncio.sleep(0.01)
            fd = ours.fileno()
            loop.poller.epoll.unregister(fd)
        assert heard
        assert {entry for news in heard for entry in news} == {(fd, select.EPOLLIN)}

    poller.run(run())


def test_a_tunnel_that_always_has_news_stops_neither_timers_nor_other_threads() -> None:
    async def run() -> None:
        loop = poller.running_loop()
        called = asyncio.Event()
        ours, peer = socket.socketpair()
        with ours, peer:
            peer.send(b"never read")
            loop.poller.epoll.register(ours.fileno(), select.EPOLLIN)
            await asyncio.sleep(0.01)
            thread = threading.Thread(target=lambda: loop.call_soon_threadsafe(called.set))
            thread.start()
            async with asyncio.timeout(10):
                await called.wait()
            thread.join()

    poller.run(run())


def test_one_look_serves_tunnels_a_bounded_number_of_rounds() -> None:
    looked = 0

    def count(news: News) -> None:
        nonlocal looked
        looked += 1

    one = Poller()
    one.on_news = count
    reader, writer = os.pipe()
    try:
        os.write(writer, b"x")
        one.epoll.register(reader, select.EPOLLIN)
        assert one.select(None) == []
        assert looked == ROUNDS
    finally:
        one.close()
        os.close(reader)
        os.close(writer)


def test_what_asyncio_asks_of_a_selector() -> None:
    one = Poller()
    reader, writer = os.pipe()
    try:
        key = one.register(writer, selectors.EVENT_WRITE, "told")
        assert one.select(0) == [(key, selectors.EVENT_WRITE)]
        with pytest.raises(KeyError):
            one.register(writer, selectors.EVENT_WRITE)
        one.register(reader, selectors.EVENT_READ)
        os.close(writer)
        assert one.unregister(writer) == key  # the kernel has forgotten it already
        [(heard, events)] = one.select(10)
        assert (heard.fd, events) == (reader, selectors.EVENT_READ)  # the end is news for a reader
        assert dict(one.get_map()) == {reader: heard}
    finally:
        one.close()
        os.close(reader)


def test_a_gateway_says_which_loop_it_needs() -> None:
    async def run() -> None:
        with pytest.raises(RuntimeError, match=r"whago\.gateway\.poller\.run"):
            poller.running_loop()

    asyncio.run(run())
