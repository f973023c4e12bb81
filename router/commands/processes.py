"""`python -m router receive` and `work`: the processes of the Procfile. Each imports only its own modules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.process.output import set_up_log
from router.settings.load import load

if TYPE_CHECKING:
    import argparse
    from collections.abc import Coroutine
    from typing import Any


def run_receiver(arguments: argparse.Namespace) -> Coroutine[Any, Any, int]:
    """Return the receiver, on one process or (`--processes`) several; raises SettingsError."""
    from router.receiver.serve import REQUIRED, serve, serve_many

    settings = load(require=REQUIRED, overrides={"port": arguments.port, "host": arguments.host})
    set_up_log(process="web", log_format=settings.log_format, level=settings.log_level)
    if arguments.processes > 1:
        return serve_many(settings, arguments.processes)
    return serve(settings, share_port=arguments.share_port)


def run_worker(_: argparse.Namespace) -> Coroutine[Any, Any, int]:
    """Return the worker; raises SettingsError."""
    from router.worker.app import REQUIRED, work

    settings = load(require=REQUIRED)
    set_up_log(process="worker", log_format=settings.log_format, level=settings.log_level)
    return work(settings)
