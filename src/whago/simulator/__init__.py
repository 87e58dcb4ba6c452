"""A simulated vendor of sticky residential IPs: a real forward proxy on loopback for the demo and the tests.

It speaks HTTP CONNECT and SOCKS5 with the Smartproxy username dialect, gives each sticky session its own exit IP,
counts what a vendor would bill, and can be told to fail in every way that vendors fail. It never dials beyond loopback.
"""

from whago.simulator.provider import SimulatedProvider

__all__ = ["SimulatedProvider"]
