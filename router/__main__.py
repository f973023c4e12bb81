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
from router.commands import operators, options
from router.core.errors import SettingsError
from router.process.terminal import CommandFailedError, OutputLostError, Parser, complain
from router.settings.environment import running_dev
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
    `finds_dev`: without a REDIS_URL it uses the `dev` that runs in `--state-dir`, where it has that option.
    """

    summary: str
    function: str
    add_options: Callable[[argparse.ArgumentParser], None] = options.add_no_options
    finds_dev: bool = False


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
        finds_dev=True,
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
        finds_dev=True,
    ),
    "status": Subcommand(
        "show on one screen what is wrong and what to do about it, and who lives, lags and waits",
        "router.commands.status:run_status",
        operators.add_status_options,
        finds_dev=True,
    ),
    "waiting": Subcommand(
        "list the events that wait for something to recover, with the reason and since when",
        "router.commands.waiting:run_waiting",
        operators.add_waiting_options,
        finds_dev=True,
    ),
    "dead-letters": Subcommand(
        "list, show, replay and drop entries that were given up",
        "router.commands.dead_letters:run_dead_letters",
        operators.add_dead_letter_options,
        finds_dev=True,
    ),
    "erase": Subcommand(
        "remove what is kept of a customer, everywhere, and say what was found where",
        "router.commands.erase:run_erase",
        operators.add_erase_options,
        finds_dev=True,
    ),
    "quarantine": Subcommand(
        "list, show, replay and drop refused webhooks",
        "router.commands.quarantine:run_quarantine",
        operators.add_quarantine_options,
        finds_dev=True,
    ),
    "story": Subcommand(
        "show what became of a message, call, conversation, participant or customer, stage by stage",
        "router.commands.story:run_story",
        options.add_story_options,
        finds_dev=True,
    ),
    "explain": Subcommand(
        "show who holds a conversation and each decision about it, and with --with what another file would decide",
        "router.commands.explain.decisions:run_explain",
        options.add_decision_options,
        finds_dev=True,
    ),
    "groups": Subcommand(
        "list the consumer groups of all streams, and remove one that is not used any more",
        "router.commands.groups:run_groups",
        operators.add_group_options,
        finds_dev=True,
    ),
    "repartition": Subcommand(
        "move all data to another number of partitions, while the processes run",
        "router.commands.repartition:run_repartition",
        options.add_repartition_options,
        finds_dev=True,
    ),
    "explain-signature": Subcommand(
        "say why a signature does not match, and what to change",
        "router.commands.explain.command:explain_signature",
        options.add_explain_options,
        finds_dev=True,
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
    """Run a command, beside a running `dev` if it finds one; returns the exit status."""
    if not command.finds_dev or not hasattr(arguments, "state_dir"):
        return _call(command, arguments)
    with running_dev(arguments.state_dir) as found:
        if found is not None:
            complain(f"using the settings of `dev` in {found}", unmasked=True)
        return _call(command, arguments)


def _call(command: Subcommand, arguments: argparse.Namespace) -> int:
    """Import the function of a command and run it."""
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
    except Exception as error:  # noqa: BLE001 - nobody but its authors can read a traceback
        return _fail(error)


def _fail(error: Exception) -> int:
    """Say in one line why a command ended that should not have; returns the exit status."""
    from router.logs import describe, describe_fully

    if isinstance(error, OSError):
        text = f"{error.filename}: {error.strerror}" if error.filename else describe_fully(error)
    else:
        text = f"a fault in this program: {describe(error)}; please report it"
    complain(text)
    return 1


if __name__ == "__main__":
    sys.exit(main())
