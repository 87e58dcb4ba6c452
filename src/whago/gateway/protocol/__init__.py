"""The wire protocols of both sides, without any I/O: bytes in, events and bytes out. Imports nobody."""
