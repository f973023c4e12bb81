"""The command `check` with the consumers: each handler is made as at its start, which reads its own configuration."""

from __future__ import annotations

from contextlib import redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING, Final

from pydantic import SecretStr

from handlers.app import HANDLERS, make_ports
from router.commands.check.command import run_check
from router.commands.check.redis import Finding
from router.core.errors import SettingsError
from router.logs import describe_fully
from router.process.apis import close_clients

if TYPE_CHECKING:
    import argparse

    from handlers.app import HandlerRow
    from router.settings.model import Settings

#: Stands for a REDIS_URL that is not set: nothing connects to it.
_NOWHERE: Final = SecretStr("redis://127.0.0.1:1")


async def check(arguments: argparse.Namespace) -> int:
    """Print all findings, then the effective configuration; returns the exit status."""
    return await run_check(arguments, check_handlers)


async def check_handlers(settings: Settings) -> list[Finding]:
    """Return the findings about all handlers."""
    if settings.redis_url is None:
        settings = settings.model_copy(update={"redis_url": _NOWHERE})
    return [finding for name, row in HANDLERS.items() for finding in await _check(name, row, settings)]


async def _check(name: str, row: HandlerRow, settings: Settings) -> list[Finding]:
    ports = make_ports(settings)
    try:
        with redirect_stdout(StringIO()):  # a module of the user's may print, and the report may be JSON
            row.make(ports)
    except SettingsError as error:
        return [Finding("FAIL", name, problem) for problem in error.problems]
    except Exception as error:  # noqa: BLE001 - the factory may be the user's
        return [Finding("FAIL", name, f"cannot be made: {describe_fully(error)}")]
    finally:
        await close_clients(ports.apis, ports.redis)
    return [Finding("ok", name, "its configuration can be read")]
