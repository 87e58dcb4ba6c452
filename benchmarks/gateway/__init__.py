"""The gateway beside every peer that this machine can install: the same work, in one run, on loopback.

``python -m benchmarks.gateway`` builds the two ends of the wire (``wire/*.c``), installs the peers into ``.cache``,
measures everybody in turn and writes ``results.md`` and ``results.json``. It reads no clock of the product's and sends
nothing off this machine.
"""
