"""The handshake with a provider's proxy, without I/O: the gateway opens a chip's tunnels with it, and probes theirs.

One implementation for both, so that what a test calls working is what a chip can use.
"""
