"""Strict and bounded reading of an HTTP/1 message head (RFC 9112 sections 2 to 5).

Lines end in CRLF only; a bare CR or LF, obsolete folding, a space before the colon and control bytes are refused,
because two readers that disagree about a head are how requests get smuggled.
"""

from __future__ import annotations

import re
from typing import Final

MAX_HEAD_BYTES: Final = 8 * 1024  # what most servers read; a CONNECT head has a few hundred bytes
MAX_FIELDS: Final = 64  # a CONNECT needs three; more is somebody probing

_END: Final = b"\r\n\r\n"
_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_BARE_LINE_END: Final = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)")
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

Fields = list[tuple[bytes, bytes]]


class MalformedHead(Exception):
    """The bytes are not an HTTP/1 head."""


class HeadTooLarge(Exception):
    """The head has more bytes or more fields than the limit."""


def find_end(buffer: bytes | bytearray, searched: int) -> int:
    """Where the head's blank line ends, or -1 when it has not come yet. ``searched`` bytes were looked at before.

    Raises MalformedHead or HeadTooLarge as soon as that is certain, so that a bad peer is answered and not waited for.
    """
    end = buffer.find(_END, max(0, searched - len(_END) + 1), MAX_HEAD_BYTES)
    if end >= 0:
        return end + len(_END)
    if _BARE_LINE_END.search(buffer, max(0, searched - 1), MAX_HEAD_BYTES):
        raise MalformedHead
    if len(buffer) >= MAX_HEAD_BYTES:
        raise HeadTooLarge
    return -1


def split_head(head: bytes) -> tuple[bytes, Fields]:
    """The start line and the fields, names in lower case and values without outer whitespace."""
    start, *lines = head[: -len(_END)].split(b"\r\n")
    if _CONTROL.search(start):
        raise MalformedHead
    fields = [_field(line) for line in lines]
    if len(fields) > MAX_FIELDS:
        raise HeadTooLarge
    return start, fields


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    if not colon or not _TOKEN.fullmatch(name) or _CONTROL.search(value):
        raise MalformedHead
    return name.lower(), value.strip(b" \t")
