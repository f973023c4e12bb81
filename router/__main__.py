"""The command line: `participant-router COMMAND`, or `python -m router COMMAND`.

Exit status: 0 done, 1 failed, 2 wrong settings or usage.

To add a command, add a row to COMMANDS. The function that it names is imported only when the command runs, so that
`--help` is instant and each process loads only what it uses.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from router import __version__
from router.commands import options
from router.core.errors import SettingsError
from router.process.terminal import CommandFailedError, OutputLostError, Parser, complain
from router.simulator.options import add_simulate_options

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Coroutine, Sequence
    from typing import Any

DESCRIPTION: Final = (
    "Turns every inbound Twilio channel event into exactly one participant and one participant.joined entry."
)

#: The command that an installation of the package has.
SCRIPT: Final = "participant-router"


class Subcommand(NamedTuple):
    """One row of COMMANDS.

    `function` is `package.module:name`; it gets the parsed arguments, and returns the exit status or a coroutine of it.
    """

    summary: str
    function: str
    add_options: Callable[[argparse.ArgumentParser], None] = options.add_no_options


COMMANDS: Final[dict[str, Subcommand]] = {
    "dev": Subcommand(
        "start everything on this machine: Redis, sandbox, receiver, worker and both consumers",
        "router.dev.dev:run_dev",
        options.add_dev_options,
    ),
    "receive": Subcommand(
        "the webhook receiver (`web` in the Procfile)",
        "router.commands.processes:run_receiver",
        options.add_receive_options,
    ),
    "work": Subcommand(
        "the worker for events and commands (`worker` in the Procfile)", "router.commands.processes:run_worker"
    ),
    "handler": Subcommand(
        "a consumer (`ai-agent` and `human-agent` in the Procfile)",
        "handlers.__main__:run_handler",
        options.add_handler_options,
    ),
    "console": Subcommand(
        "the web page for people: desk and operations; and its users",
        "router.commands.console:run_console",
        options.add_console_options,
    ),
    "sandbox": Subcommand(
        "the offline Conversations API on its own", "router.commands.sandbox:run_sandbox", options.add_sandbox_options
    ),
    "simulate": Subcommand(
        "send signed webhooks of any kind, and show the entries that follow",
        "router.simulator.command:simulate",
        add_simulate_options,
    ),
    "init": Subcommand(
        "write the shipped settings, rules, roster, voice templates and schemas into a folder, to be edited",
        "router.commands.init:init",
        options.add_init_options,
    ),
    "check": Subcommand(
        "validate configuration, credentials, Redis settings and reachability",
        "handlers.checking:check",
        options.add_check_options,
    ),
    "dead-letters": Subcommand(
        "list entries that were given up, and replay them",
        "router.commands.dead_letters:run_dead_letters",
        options.add_dead_letter_options,
    ),
    "quarantine": Subcommand(
        "list, show and replay refused webhooks",
        "router.commands.quarantine:run_quarantine",
        options.add_quarantine_options,
    ),
    "explain": Subcommand(
        "show who holds a conversation and each decision about it, and with --with what another file would decide",
        "router.commands.explain.decisions:run_explain",
        options.add_decision_options,
    ),
    "groups": Subcommand(
        "list the consumer groups of all streams, and remove one that is not used any more",
        "router.commands.groups:run_groups",
        options.add_group_options,
    ),
    "repartition": Subcommand(
        "move all data to another number of partitions, while the processes run",
        "router.commands.repartition:run_repartition",
        options.add_repartition_options,
    ),
    "explain-signature": Subcommand(
        "say why a signature does not match, and what to change",
        "router.commands.explain.command:explain_signature",
        options.add_explain_options,
    ),
    "schemas": Subcommand(
        "write the JSON Schemas of all entries", "router.commands.schemas:write_schemas", options.add_schema_options
    ),
}


def make_parser() -> Parser:
    """Return the parser of all commands."""
    prog = SCRIPT if Path(sys.argv[0]).name == SCRIPT else "python -m router"
    parser = Parser(prog=prog, description=DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"{SCRIPT} {__version__}")
    parsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        command.add_options(
            parsers.add_parser(
                name, help=command.summary, description=command.summary, formatter_class=options.HelpFormat
            )
        )
    return parser


def run_command(command: Subcommand, arguments: argparse.Namespace) -> int:
    """Import the function of a command and run it; returns the exit status."""
    module, _, name = command.function.partition(":")
    outcome: int | Coroutine[Any, Any, int] = getattr(import_module(module), name)(arguments)
    if isinstance(outcome, int):
        return outcome
    from router.process.loop import run

    return run(outcome)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    try:
        arguments = make_parser().parse_args(argv)
        return run_command(COMMANDS[arguments.command], arguments)
    except SettingsError as error:
        complain(*error.report(), unmasked=True)
        return 2
    except CommandFailedError as error:
        complain(str(error))
        return 1
    except OutputLostError as error:
        return error.end()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
