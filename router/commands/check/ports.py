"""`check` of the ports that processes listen on: PORT of the receiver, ROUTER_METRICS_PORT of workers and consumers.

A port in use is right if one of our processes has it, which answers as they do.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import TYPE_CHECKING, Final

from router.commands.check.redis import Finding
from router.simulator.http import is_up

if TYPE_CHECKING:
    from router.settings.model import Settings

#: Where a process that listens on all addresses is reached from its own machine.
_NEAR: Final = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - compared with, not listened on


async def check_ports(settings: Settings, *, is_offline: bool) -> list[Finding]:
    """Return a finding for each port; `is_offline`: who has a port that is in use is not asked."""
    wanted = {"PORT": (settings.port, "/healthz"), "ROUTER_METRICS_PORT": (settings.metrics_port, "/metrics")}
    found = [
        await _check(variable, settings.host, port, path, is_offline=is_offline)
        for variable, (port, path) in wanted.items()
        if port
    ]
    if settings.port and settings.port == settings.metrics_port:
        text = f"{settings.port} is PORT too: on a machine with a receiver no worker and no consumer starts"
        found.append(Finding("warn", "ROUTER_METRICS_PORT", text))
    return found


async def _check(variable: str, host: str, port: int, path: str, *, is_offline: bool) -> Finding:
    try:
        await asyncio.to_thread(_bind, host, port)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            is_host = isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL
            text = f"cannot listen on {host}:{port}: {error.strerror or error}"
            return Finding("FAIL", "ROUTER_HOST" if is_host else variable, text)
        if is_offline:
            return Finding("ok", variable, f"{port} is in use; without --offline, who uses it is asked")
        if await is_up(f"http://{_NEAR.get(host) or _in_url(host)}:{port}{path}"):
            return Finding("ok", variable, f"{port} is in use, and answers {path} as our processes do")
        return Finding("FAIL", variable, f"{port} is in use by another program")
    return Finding("ok", variable, f"{host}:{port} is free")


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _bind(host: str, port: int) -> None:
    """Bind a port and let it go at once, as a process would; raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = found[0]
    with socket.socket(family, kind, protocol) as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
