"""The command line: `python -m router COMMAND`. What a command needs is imported when it runs, so `--help` is instant.

Exit status: 0 done, 1 failed, 2 wrong settings or usage.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from router.core.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DESCRIPTION = "Turns every inbound Twilio channel event into exactly one participant and one participant.joined entry."


def _dev(arguments: argparse.Namespace) -> int:
    from router.dev.dev import DevOptions, develop
    from router.process.loop import run

    options = DevOptions(
        port=arguments.port,
        sandbox_port=arguments.sandbox_port,
        redis_url=arguments.redis_url,
        state_dir=arguments.state_dir,
        has_demo=not arguments.no_demo,
        is_once=arguments.once,
    )
    return run(develop(options))


def _receive(arguments: argparse.Namespace) -> int:
    from router.logs import setup
    from router.process.loop import run
    from router.receiver.serve import REQUIRED, serve, serve_many
    from router.settings.load import load

    settings = load(require=REQUIRED, overrides={"port": arguments.port, "host": arguments.host})
    setup(process="web", log_format=settings.log_format, level=settings.log_level)
    if arguments.processes > 1:
        return run(serve_many(settings, arguments.processes))
    return run(serve(settings, share_port=arguments.share_port))


def _work(_: argparse.Namespace) -> int:
    from router.logs import setup
    from router.process.loop import run
    from router.settings.load import load
    from router.worker.app import REQUIRED, work

    settings = load(require=REQUIRED)
    setup(process="worker", log_format=settings.log_format, level=settings.log_level)
    return run(work(settings))


def _sandbox(arguments: argparse.Namespace) -> int:
    from router.commands.sandbox import run_sandbox

    return run_sandbox(arguments)


def _simulate(arguments: argparse.Namespace) -> int:
    from router.process.loop import run
    from router.simulator.command import simulate

    return run(simulate(arguments))


def _check(arguments: argparse.Namespace) -> int:
    from router.commands.check.command import check
    from router.process.loop import run

    return run(check(is_offline=arguments.offline))


def _dead_letters(arguments: argparse.Namespace) -> int:
    from router.commands.dead_letters import list_dead_letters, replay_dead_letters
    from router.process.loop import run

    if arguments.action == "list":
        return run(list_dead_letters(is_json=arguments.json))
    return run(replay_dead_letters(arguments.ids, is_all=arguments.all))


def _quarantine(arguments: argparse.Namespace) -> int:
    from router.commands.quarantine import list_quarantine, replay_quarantined, show_quarantined
    from router.process.loop import run

    if arguments.action == "list":
        return run(list_quarantine(arguments))
    if arguments.action == "show":
        return run(show_quarantined(arguments.id, raw=arguments.raw))
    return run(replay_quarantined(arguments))


def _explain_signature(arguments: argparse.Namespace) -> int:
    from router.commands.explain.command import explain_signature
    from router.process.loop import run

    return run(explain_signature(arguments))


def _schemas(arguments: argparse.Namespace) -> int:
    from router.commands.schemas import write_schemas

    return write_schemas(arguments.directory)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(prog="python -m router", description=DESCRIPTION)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, run: Callable[[argparse.Namespace], int], summary: str) -> argparse.ArgumentParser:
        command = commands.add_parser(
            name, help=summary, description=summary, formatter_class=argparse.ArgumentDefaultsHelpFormatter
        )
        command.set_defaults(run=run)
        return command

    _add_processes(add)
    _add_tools(add)
    return parser


def _add_processes(add: Callable[..., argparse.ArgumentParser]) -> None:
    dev = add("dev", _dev, "start everything on this machine: Redis, sandbox, receiver, worker and both consumers")
    dev.add_argument("--port", type=int, help="of the receiver (default: 8080, or a free one)")
    dev.add_argument("--sandbox-port", type=int, help="of the sandbox (default: 8081, or a free one)")
    dev.add_argument("--redis-url", help="use this server instead of REDIS_URL or an embedded one")
    dev.add_argument("--state-dir", type=Path, default=Path(".state"), help="data, logs and dev.env")
    dev.add_argument("--no-demo", action="store_true", help="play no sample events through")
    dev.add_argument("--once", action="store_true", help="end when the sample events have arrived (1 if one has not)")

    receive = add("receive", _receive, "the webhook receiver (`web` in the Procfile)")
    receive.add_argument("--port", type=int, help="listen there (default: $PORT)")
    receive.add_argument("--host", help="listen on this address (default: $ROUTER_HOST)")
    receive.add_argument("--processes", type=int, default=1, metavar="N", help="share the port among N processes")
    receive.add_argument("--share-port", action="store_true", help=argparse.SUPPRESS)

    add("work", _work, "the resolving worker (`worker` in the Procfile)")


def _add_tools(add: Callable[..., argparse.ArgumentParser]) -> None:
    from router.commands import options
    from router.simulator.options import add_simulate_options

    options.add_sandbox_options(add("sandbox", _sandbox, "the offline Conversations API on its own"))
    simulator = add("simulate", _simulate, "send signed webhooks of any kind, and show the entries that follow")
    simulator.formatter_class = options.HelpFormat
    add_simulate_options(simulator)
    check = add("check", _check, "validate configuration, credentials, Redis settings and reachability")
    check.add_argument("--offline", action="store_true", help="only the configuration: connect to nothing")
    letters = add("dead-letters", _dead_letters, "inspect entries that were given up, and put them back")
    letters.add_argument("action", choices=("list", "replay"))
    letters.add_argument("ids", nargs="*", metavar="ID", help="letters to replay, as `list` shows them")
    letters.add_argument("--all", action="store_true", help="replay all of them")
    letters.add_argument("--json", action="store_true", help="list as JSON lines, with the raw fields")
    refused = add("quarantine", _quarantine, "inspect refused webhooks, and take them in after all")
    options.add_quarantine_options(refused)
    explain = add("explain-signature", _explain_signature, "say why a signature does not match, and what to change")
    options.add_explain_options(explain)
    schemas = add("schemas", _schemas, "write the JSON Schemas of all entries")
    schemas.add_argument("directory", type=Path, nargs="?", default=Path("config/schemas"))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    arguments = make_parser().parse_args(argv)
    try:
        status: int = arguments.run(arguments)
    except SettingsError as error:
        print("The settings are not right:", *(f"  {problem}" for problem in error.problems), sep="\n", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return status


if __name__ == "__main__":
    sys.exit(main())
