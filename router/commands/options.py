"""Command line options of the tools, apart from the tools: `--help` must not import them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.core.events import SourceName
from router.core.quarantine import REASONS

if TYPE_CHECKING:
    import argparse

KINDS: Final = (
    "sms",
    "mms",
    "whatsapp",
    "rcs",
    "messenger",
    "event-stream",
    "email",
    "conversation-created",
    "conversation-updated",
    "conversation-closed",
    "participant-added",
    "participant-updated",
    "participant-removed",
    "communication-created",
    "communication-updated",
)
#: Whom a simulated webhook is from and to, unless the command says so.
CUSTOMER, OURS = "+15551230001", "+15557650000"
GROUPING_TYPES: Final = (
    "GROUP_BY_PARTICIPANT_ADDRESSES_AND_CHANNEL_TYPE",
    "GROUP_BY_PARTICIPANT_ADDRESSES",
    "GROUP_BY_PROFILE",
)


def add_simulate_options(parser: argparse.ArgumentParser) -> None:
    """Add what `simulate` takes."""
    parser.add_argument("kind", choices=KINDS, metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--from", dest="sender", default=CUSTOMER, help="the customer's address")
    parser.add_argument("--to", dest="recipient", default=OURS, help="our address")
    parser.add_argument("--body", default="hi", help="text of the message")
    parser.add_argument("--subject", default="Hello", help="email: its subject")
    parser.add_argument("--raw", action="store_true", help="email: posted whole, as with `send_raw`, instead of parsed")
    parser.add_argument("--attachment", action="append", default=[], metavar="FILE", help="email: a file; may repeat")
    parser.add_argument("--sid", help="MessageSid (default: made from the message, so the same again is a repeat)")
    parser.add_argument("--new", action="store_true", help="a fresh MessageSid: another message with the same words")
    parser.add_argument("--channel", default="SMS", help="callbacks: the participant's channel")
    parser.add_argument("--type", dest="participant_type", default="CUSTOMER", help="callbacks: the participant's type")
    parser.add_argument("--conversation", help="callbacks: conversation id (default: made from the addresses)")
    parser.add_argument("--participant", help="callbacks: participant id (default: made from the addresses)")
    parser.add_argument("--times", type=int, default=1, metavar="N", help="send it N times")
    parser.add_argument("--parallel", type=int, default=1, metavar="N", help="so many at once")
    parser.add_argument("--tamper", action="store_true", help="alter the body after signing")
    parser.add_argument("--wrong-token", action="store_true", help="sign with another token")
    parser.add_argument("--unsigned", action="store_true", help="send no signature")
    parser.add_argument("--url", help="the receiver (default: ROUTER_URL, or dev.env's)")
    parser.add_argument("--state-dir", default=".state", help="where `dev` wrote dev.env")
    parser.add_argument("--no-wait", action="store_true", help="do not wait to see what comes of it")


def add_sandbox_options(parser: argparse.ArgumentParser) -> None:
    """Add what `sandbox` takes."""
    parser.add_argument("--host", default="127.0.0.1", help="listen on this address")
    parser.add_argument("--port", type=int, default=8081, help="listen there (0: a free one)")
    parser.add_argument("--callback-url", help="send signed status callbacks there")
    parser.add_argument("--grouping", choices=GROUPING_TYPES, default=GROUPING_TYPES[0], help="how conversations group")
    parser.add_argument(
        "--set", action="append", default=[], metavar="SWITCH=VALUE", dest="switches", help="turn a switch; may repeat"
    )


def add_quarantine_options(parser: argparse.ArgumentParser) -> None:
    """Add what `quarantine` takes."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|show|replay")
    listing = actions.add_parser("list", help="what was refused, when and why")
    listing.add_argument("--json", action="store_true", help="as JSON lines")
    show = actions.add_parser("show", help="all that is known of one: headers, reason, body; private values masked")
    show.add_argument("id", metavar="ID", help="as `list` shows it")
    show.add_argument("--raw", metavar="FILE", help="write the request there (-: here) as it came, nothing masked")
    text = "check again with the settings of now, take in what is right; the rest stays (status 1) with its new reason"
    replay = actions.add_parser("replay", help=text, description=text)
    replay.add_argument("ids", nargs="*", metavar="ID", help="as `list` shows them")
    replay.add_argument("--all", action="store_true", help="all of them, or those of --reason and --source")
    replay.add_argument(
        "--trust",
        action="store_true",
        help="do not check the signatures of these ids: for when the token is gone; you vouch for them",
    )
    for each in (listing, replay):
        each.add_argument("--reason", choices=REASONS, help="only what was refused for it")
        each.add_argument("--source", choices=[str(name) for name in SourceName], help="only what came from it")


def add_explain_options(parser: argparse.ArgumentParser) -> None:
    """Add what `explain-signature` takes."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--id", help="an entry of the quarantine, as `quarantine list` shows it")
    which.add_argument("--request", metavar="FILE", help="a whole HTTP request as text (-: standard input)")
    which.add_argument("--url", help="what was called: a URL, or path and query; with --header and --body-file")
    parser.add_argument(
        "--header", action="append", default=[], metavar="'NAME: VALUE'", help="as with curl; may repeat"
    )
    parser.add_argument("--body-file", metavar="FILE", help="the body's bytes (-: standard input)")
