"""Readers of the messages between a process and its servers: Redis commands and replies, HTTP requests and responses.

Each returns the bytes of one whole message, so that a relay can pass it on or keep it. Requests have a name for tables:
`XACK`, the name of a script (`commit`), `POST /v2/Conversations/*/Participants`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from hashlib import sha1
from typing import TYPE_CHECKING, Final

from tests.support.source import ROOT

if TYPE_CHECKING:
    from asyncio import StreamReader
    from pathlib import Path

#: Scripts that are several operations: which argument names the operation.
MANY_IN_ONE: Final = {"desk": 1}
#: Reads that are repeated until they find something.
POLLS: Final = frozenset({"XREADGROUP", "timers_take", "desk placed", "desk lapsed"})
#: Replies of a read that found nothing.
NOTHING: Final = frozenset({b"*-1\r\n", b"*0\r\n", b"_\r\n", b"$-1\r\n", b"%0\r\n"})
_ID: Final = re.compile(r"/(conv_[a-z]+_\w+|[A-Z]{2}[0-9a-f]{32})")
_CHUNKED: Final = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Message:
    """One request: its name, and its bytes."""

    name: str
    raw: bytes


def script_files() -> list[Path]:
    """Return every Lua script of the project."""
    return [*(ROOT / "router").rglob("*.lua")]


@cache
def script_names() -> dict[bytes, str]:
    """Return the names of the scripts by their SHA-1 hash, which Redis uses."""
    hashes = {path: sha1(path.read_bytes(), usedforsecurity=False).hexdigest() for path in script_files()}
    return {digest.encode(): path.stem for path, digest in hashes.items()}


async def read_command(reader: StreamReader) -> Message:
    """Read one Redis command; raises IncompleteReadError at the end of the connection."""
    raw = await reader.readuntil(b"\r\n")
    parts = []
    for _ in range(int(raw[1:])):
        head = await reader.readuntil(b"\r\n")
        body = await reader.readexactly(int(head[1:]) + 2)
        parts.append(body[:-2])
        raw += head + body
    return Message(_name_command(parts), raw)


def _name_command(parts: list[bytes]) -> str:
    name = parts[0].decode().upper()
    if name != "EVALSHA":
        return name
    script = script_names().get(parts[1], name)
    if (argument := MANY_IN_ONE.get(script)) is None:
        return script
    return f"{script} {parts[3 + int(parts[2]) + argument].decode()}"


async def read_reply(reader: StreamReader) -> bytes:
    """Read one reply of Redis, of either version of its protocol, with nested replies."""
    raw = await reader.readuntil(b"\r\n")
    kind, rest = raw[:1], raw[1:-2]
    if kind in b"$=!" and rest != b"-1":
        return raw + await reader.readexactly(int(rest) + 2)
    if kind in b"*~>%|" and rest != b"-1":
        inside = int(rest) * (2 if kind in b"%|" else 1) + (kind == b"|")
        return raw + b"".join([await read_reply(reader) for _ in range(inside)])
    return raw


def is_unasked(reply: bytes) -> bool:
    """Tell whether a reply of Redis answers no command (a push)."""
    return reply.startswith(b">")


def is_answer(name: str, reply: bytes) -> bool:
    """Tell whether a reply is the result of a command: a read that found something, a script that was loaded."""
    return not reply.startswith(b"-NOSCRIPT") and not (name in POLLS and reply in NOTHING)


async def read_request(reader: StreamReader) -> Message:
    """Read one HTTP request; raises IncompleteReadError at the end of the connection."""
    raw = await _read_http(reader)
    method, target, _ = raw.partition(b"\r\n")[0].decode().split(" ")
    return Message(f"{method} {_ID.sub('/*', target.partition('?')[0])}", raw)


async def read_response(reader: StreamReader) -> bytes:
    """Read one HTTP response."""
    return await _read_http(reader)


async def _read_http(reader: StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    if _CHUNKED.search(head):
        return head + await _read_chunks(reader)
    length = _LENGTH.search(head)
    return head + await reader.readexactly(int(length[1]) if length else 0)


async def _read_chunks(reader: StreamReader) -> bytes:
    chunks = b""
    while True:
        size = await reader.readuntil(b"\r\n")
        chunks += size + await reader.readexactly(int(size, 16) + 2)
        if int(size, 16) == 0:
            return chunks
