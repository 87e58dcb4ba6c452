"""Counts the bytes of one client socket, first for nobody, then for the session that it turns out to be."""

from __future__ import annotations

from whago.simulator.ledger import Counters
from whago.simulator.state import ProviderState
from whago.simulator.stickies import Sticky


class Meter:
    """Every byte goes to the sticky session, its account and the account's flow over time, or to ``unattributed``.

    What was counted before the session was known (a greeting, a credential) is passed on by :meth:`attach`.
    """

    def __init__(self, state: ProviderState) -> None:
        self._state = state
        self._pending = Counters()
        self._sticky: Sticky | None = None

    def up(self, count: int) -> None:
        """Bytes received from the client."""
        self._add(Counters(wire_up=count))

    def down(self, count: int) -> None:
        """Bytes that the kernel took for the client."""
        self._add(Counters(wire_down=count))

    def handshake_up(self, count: int) -> None:
        """Of the bytes counted by :meth:`up`, these were handshake."""
        self._add(Counters(handshake_up=count))

    def handshake_down(self, count: int) -> None:
        """Handshake bytes that the kernel took for the client; counts them as :meth:`down` too."""
        self._add(Counters(wire_down=count, handshake_down=count))

    def attach(self, sticky: Sticky) -> None:
        """From now on, and for what was counted so far, this is whose bytes they are."""
        self._sticky = sticky
        pending, self._pending = self._pending, Counters()
        self._add(pending)

    def settle(self) -> None:
        """At the end of the connection: what belongs to nobody is kept in ``unattributed``."""
        self._state.unattributed.add(self._pending)
        self._pending = Counters()

    def _add(self, count: Counters) -> None:
        if self._sticky is None:
            self._pending.add(count)
            return
        account = self._sticky.account
        self._sticky.counters.add(count)
        account.counters.add(count)
        if moved := count.wire_up + count.wire_down:
            account.flow.add(self._state.now(), moved)
