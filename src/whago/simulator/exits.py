"""Exit IPs: loopback addresses that stand for residential ones.

Linux lets a socket bind any 127.x.y.z, so each sticky session can have an address of its own that an origin on the
same machine really sees. The network (a /10 unless told otherwise) is cut into one equal block per country, hence an
address alone tells its country, as with a geo-IP table. Two simulators on one machine take different networks.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Final

EXIT_NETWORK: Final = "127.64.0.0/10"
STATIC_NETWORK: Final = "127.32.0.0/16"
EXIT_PREFIX_MAX: Final = 16  # below that a country's block would hold too few addresses to be found by probing
HOSTS_PER_24: Final = 254  # .0 and .255 look like network addresses to careless code, so nobody gets them

_LOOPBACK: Final = IPv4Network("127.0.0.0/8")


@dataclass(frozen=True, slots=True)
class Place:
    """What an ip-check page tells about an address; ``asn`` and ``isp`` are examples from the country."""

    country: str
    city: str
    asn: int
    isp: str


_PLACES: Final[tuple[tuple[Place, ...], ...]] = (
    (
        Place("BR", "São Paulo", 27699, "Telefônica Brasil"),
        Place("BR", "Rio de Janeiro", 28573, "Claro NXT"),
        Place("BR", "Belo Horizonte", 26599, "Telefônica Brasil"),
        Place("BR", "Porto Alegre", 8167, "V.tal"),
    ),
    (Place("AR", "Buenos Aires", 7303, "Telecom Argentina"), Place("AR", "Córdoba", 22927, "Telefónica de Argentina")),
    (Place("CL", "Santiago", 22047, "VTR"), Place("CL", "Valparaíso", 7418, "Telefónica Chile")),
    (Place("CO", "Bogotá", 10620, "Telmex Colombia"), Place("CO", "Medellín", 13489, "EPM")),
    (Place("MX", "Ciudad de México", 8151, "Uninet"), Place("MX", "Monterrey", 11888, "Televisión Internacional")),
    (Place("PT", "Lisboa", 3243, "MEO"), Place("PT", "Porto", 2860, "NOS")),
    (Place("ES", "Madrid", 3352, "Telefónica de España"), Place("ES", "Barcelona", 12479, "Orange Espagne")),
    (Place("US", "New York", 7018, "AT&T"), Place("US", "Los Angeles", 7922, "Comcast")),
)
COUNTRIES: Final = tuple(block[0].country for block in _PLACES)


class NoExit(Exception):
    """No address is left, or none is offered, in the wanted country."""


class ExitBook:
    """Who holds which exit address. An address given out by :meth:`allocate` had no other holder.

    An address may have several holders: its session, each running tunnel that still uses it after a drift, and a
    second session when a test deliberately makes a duplicate. It is free again when the last one lets go.
    """

    def __init__(self, network: str = EXIT_NETWORK) -> None:
        self._network = IPv4Network(network)
        if not self._network.subnet_of(_LOOPBACK) or self._network.prefixlen > EXIT_PREFIX_MAX:
            raise ValueError(f"the exit network must lie in 127.0.0.0/8 and be a /{EXIT_PREFIX_MAX} or larger")
        self._block_addresses = self._network.num_addresses // len(COUNTRIES)
        self._holders: Counter[str] = Counter()

    def allocate(self, country: str, seed: str) -> str:
        """A free address of ``country``, held once. The same seed gets the same address while that is free."""
        if country not in COUNTRIES:
            raise NoExit(country)
        usable = self._block_addresses // 256 * HOSTS_PER_24
        block = COUNTRIES.index(country)
        start = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8]) % usable
        for step in range(usable):
            address = self._address(block, (start + step) % usable)
            if address not in self._holders:
                self.hold(address)
                return address
        raise NoExit(country)

    def hold(self, address: str) -> None:
        """Become one more holder of ``address``."""
        self._holders[address] += 1

    def release(self, address: str) -> None:
        """Let go once; the address is free after its last holder."""
        self._holders[address] -= 1
        if self._holders[address] <= 0:
            del self._holders[address]

    def place_of(self, address: str) -> Place | None:
        """Where an exit address pretends to be; None for an address that is no exit."""
        ip = IPv4Address(address)
        if ip in IPv4Network(STATIC_NETWORK):
            return _PLACES[0][0]
        if ip not in self._network:
            return None
        offset = int(ip) - int(self._network.network_address)
        places = _PLACES[offset // self._block_addresses]
        return places[(offset >> 8) % len(places)]

    def _address(self, block: int, number: int) -> str:
        offset = block * self._block_addresses + number // HOSTS_PER_24 * 256 + number % HOSTS_PER_24 + 1
        return str(IPv4Address(int(self._network.network_address) + offset))


def static_address(number: int) -> str:
    """The address of static proxy ``number`` (from 0): it listens there and leaves from there, as an ISP proxy does."""
    return str(IPv4Network(STATIC_NETWORK)[number // HOSTS_PER_24 * 256 + number % HOSTS_PER_24 + 1])
