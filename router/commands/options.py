"""The options of the commands, apart from what they run, which `--help` must not import."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

#: The bound of ROUTER_PARTITIONS.
MOST_PARTITIONS: Final = 1024
#: The roles of the console (router.console.pages).
CONSOLE_ROLES: Final = ("agent", "operator", "viewer")
GROUPING_TYPES: Final = (
    "GROUP_BY_PARTICIPANT_ADDRESSES_AND_CHANNEL_TYPE",
    "GROUP_BY_PARTICIPANT_ADDRESSES",
    "GROUP_BY_PROFILE",
)


_SANDBOX: Final = """\
the admin API, for what no client of the public API can do (router/sandbox/admin.py lists all routes):
  POST  /sandbox/clock    {"advanceSeconds": 3600}     advance the clock, and with it all timers
  POST  /sandbox/capture  {"channel": "SMS", "from": "+15551230001", "to": "+15557650000", "body": "hi"}
                                                       capture a message, as Twilio does
  POST  /sandbox/faults   {"status": 503, "times": 3}  the next three requests fail (also: hang, reset, latencySeconds)
  GET   /sandbox/options                               every switch with its value; PATCH or --set changes one

switches for what the API may refuse although its description allows it (all off; router/sandbox/options.py has all):
  --set 'refused_channels=["EMAIL"]'   no address on these channels
  --set strict_addresses=true          numbers must be E.164, mailboxes mailboxes, 254 characters at most
  --set chat_needs_channel_id=true     CHAT needs a channelId, in participants and in messages that are sent
  --set action_needs_content=true      SEND_MESSAGE needs a text, a contentId or media
  --set validation_status=422          the status of these refusals instead of 400

examples:
  sandbox --callback-url http://127.0.0.1:8080/webhooks/conversations --set callback_duplicates=2
  sandbox --set callback_order=shuffled --set inactive_blocks=false
  curl -u "$TWILIO_API_KEY:$TWILIO_API_SECRET" -d '{"advanceSeconds": 3600}' http://127.0.0.1:8081/sandbox/clock
"""


class HelpFormat(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Help that shows a default where there is one, and the lists at its end as they are written."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return super()._get_help_string(action) if action.default else action.help


def add_state_dir(parser: argparse.ArgumentParser) -> None:
    """Add the option of commands that find a running `dev`."""
    text = "use the `dev` that was started in DIR (default: .state, if REDIS_URL is not set)"
    parser.add_argument("--state-dir", type=Path, metavar="DIR", help=text)


def add_no_options(_: argparse.ArgumentParser) -> None:
    """Add nothing."""


def add_dev_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `dev`."""
    parser.add_argument("--port", type=int, help="port of the receiver (default: 8080, or a free one)")
    parser.add_argument("--sandbox-port", type=int, help="port of the sandbox (default: 8081, or a free one)")
    parser.add_argument("--console-port", type=int, help="port of the console (default: 8082, or a free one)")
    parser.add_argument("--redis-url", help="use this server instead of REDIS_URL or an embedded one")
    parser.add_argument("--state-dir", type=Path, default=Path(".state"), help="folder for data, logs and dev.env")
    memory = parser.add_mutually_exclusive_group()
    memory.add_argument(
        "--fresh",
        dest="keep",
        action="store_const",
        const="fresh",
        default="together",
        help="forget earlier runs (default: remember them if Redis and the sandbox both do)",
    )
    memory.add_argument(
        "--keep", action="store_const", const="all", help="keep what Redis has, even if the sandbox lacks it"
    )
    parser.add_argument(
        "--no-demo", action="store_true", help="play no sample events, and set no greeting of the AI agent"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="show ids, and events that lead to nothing, too")
    parser.add_argument(
        "--once", action="store_true", help="end when all sample events have arrived (1 if one has not)"
    )


def add_receive_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `receive`."""
    parser.add_argument("--port", type=int, help="listen on this port (default: $PORT)")
    parser.add_argument("--host", help="listen on this address (default: $ROUTER_HOST)")
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="share the port among N processes")
    parser.add_argument("--share-port", action="store_true", help=argparse.SUPPRESS)


def add_console_options(parser: argparse.ArgumentParser) -> None:
    """Add the actions of `console` and their options."""
    parser.add_argument("--port", type=int, help="listen on this port (default: $ROUTER_CONSOLE_PORT)")
    parser.add_argument("--host", help="listen on this address (default: $ROUTER_CONSOLE_HOST)")
    actions = parser.add_subparsers(dest="action", metavar="add-user|add-token|link|list|remove")
    user = actions.add_parser("add-user", help="add a user to the file, or change one, and ask for a password")
    user.add_argument("--password-stdin", action="store_true", help="read the password from standard input")
    user.add_argument("--no-password", action="store_true", help="sign in by links or a proxy only")
    token = actions.add_parser("add-token", help="add a bearer token to the file, or change one, and print it once")
    for each in (user, token):
        each.add_argument("name", metavar="NAME", help="of an agent: the identity in roster.toml")
        each.add_argument("--role", required=True, choices=CONSOLE_ROLES)
    link = actions.add_parser("link", help="print a link that signs a user in, once and within an hour")
    link.add_argument("name", metavar="NAME")
    listing = actions.add_parser("list", help="list users and tokens with their roles")
    remove = actions.add_parser("remove", help="remove a user or token from the file; its sessions end")
    remove.add_argument("name", metavar="NAME")
    for each in (user, token, link, listing, remove):
        add_state_dir(each)


def add_sandbox_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `sandbox`."""
    parser.add_argument("--host", default="127.0.0.1", help="listen on this address")
    parser.add_argument("--port", type=int, default=8081, help="listen on this port (0: a free one)")
    parser.add_argument("--callback-url", help="send signed status callbacks to this URL")
    parser.add_argument(
        "--memory", type=Path, metavar="FILE", help="keep the conversations in this file (default: until it ends)"
    )
    parser.add_argument(
        "--grouping", choices=GROUPING_TYPES, default=GROUPING_TYPES[0], help="grouping type of conversations"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="SWITCH=VALUE", dest="switches", help="set a switch; may repeat"
    )
    parser.epilog = _SANDBOX


def add_check_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `check`."""
    add_state_dir(parser)
    parser.add_argument("--offline", action="store_true", help="check the configuration only, connect to nothing")
    parser.add_argument("--json", action="store_true", help="print findings and settings as one JSON object")


def add_init_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `init`."""
    parser.add_argument("directory", type=Path, nargs="?", default=Path("config"), metavar="DIR", help="folder")
    parser.add_argument("--force", action="store_true", help="overwrite files that differ, instead of keeping them")


def add_handler_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `handler`."""
    text = "ai_agent, human_agent, or another row of the table in handlers/app.py"
    parser.add_argument("name", metavar="NAME", help=text)


def add_decision_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `explain`."""
    add_state_dir(parser)
    parser.add_argument("id", metavar="ID", help="a conversation id or a participant id")
    parser.add_argument(
        "--with",
        dest="other",
        metavar="FILE",
        help="a routing.toml or roster.toml: also show what it would have decided",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document")


def add_story_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `story`."""
    add_state_dir(parser)
    text = "a MessageSid, CallSid, conversation, participant, event id (ev_...), idempotency key or address"
    parser.add_argument("query", metavar="ID|ADDRESS", help=text)
    parser.add_argument("--around", metavar="TIME", help="HH:MM in UTC, or ISO 8601: only events within a quarter hour")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.epilog = "exit status: 0 found, 1 nothing is known, 2 could not look"


def add_repartition_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `repartition`."""
    add_state_dir(parser)
    parser.add_argument("number", type=_partitions, metavar="N", help="number of partitions, 1 to 1024")
    parser.add_argument("--dry-run", action="store_true", help="show what would be moved, and move nothing")


def _partitions(text: str) -> int:
    number = int(text)
    if not 1 <= number <= MOST_PARTITIONS:
        raise argparse.ArgumentTypeError(f"{number} is not between 1 and {MOST_PARTITIONS}")
    return number


def add_explain_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `explain-signature`."""
    add_state_dir(parser)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--id", help="an entry of the quarantine, as `quarantine list` shows it")
    which.add_argument("--request", metavar="FILE", help="a whole HTTP request as text (-: standard input)")
    which.add_argument("--url", help="the URL that was called, or its path and query; with --header and --body-file")
    parser.add_argument(
        "--header", action="append", default=[], metavar="'NAME: VALUE'", help="a header, as with curl; may repeat"
    )
    parser.add_argument("--body-file", metavar="FILE", help="the bytes of the body (-: standard input)")


def add_schema_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `schemas`."""
    parser.add_argument("directory", type=Path, nargs="?", default=Path("config/schemas"), help="folder to write to")
