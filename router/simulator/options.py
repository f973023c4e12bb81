"""Command-line options of `simulate`, apart from the command: `--help` must not import a builder."""

from __future__ import annotations

import argparse
from textwrap import fill
from typing import TYPE_CHECKING, Final

from router.process.terminal import Parser
from router.settings.environment import STATE_DIR
from router.simulator.kinds import KINDS, Family

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Sender and recipient of a simulated webhook, unless the command line names others.
CUSTOMER, OURS = "+15551230001", "+15557650000"
_EVENT_STREAM: Final = "event-stream-"
_CLASSIC: Final = "classic-"

_EXAMPLES: Final = """\
  simulate sms --from +15551230001 --body "hi"           one message; the same command again is a duplicate
  simulate sms --times 20 --parallel 20                  twenty copies at once
  simulate sms whatsapp event-stream-sms participant-added --times 3 --shuffle --seed 7 --delay 0.2
                                                         many webhooks about one customer, in random order
  simulate participant-updated --type UNKNOWN --age 3600 stale: about an hour ago
  simulate sms --tamper                                  is answered 403
  simulate whatsapp --both; simulate whatsapp --bsuid-only
                                                         one user, first with the phone and then without
  simulate voice; simulate voice --status completed      a call, and its end
  simulate voice --handoff-data '{"reason": "billing"}'  the AI agent hands the same call over to people
  simulate sms --customers 1000 --rate 200 --new         a thousand customers, 200 webhooks per second
  simulate email --subject Order --attachment order.pdf  a mail with an attachment
"""


def add_simulate_options(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `simulate` to `parser`."""
    parser.add_argument("kinds", choices=KINDS, nargs="+", metavar="KIND", help="listed below; several make a scenario")
    parser.add_argument("--from", dest="sender", default=CUSTOMER, help="the customer's address")
    parser.add_argument("--to", dest="recipient", default=OURS, help="our address")
    whatsapp = parser.add_mutually_exclusive_group()
    whatsapp.add_argument("--both", action="store_true", help="WhatsApp: tell the user's id beside the phone")
    whatsapp.add_argument("--bsuid-only", action="store_true", help="WhatsApp: tell the user's id and hide the phone")
    parser.add_argument("--body", default="hi", help="text of the message")
    parser.add_argument(
        "--sid", help="MessageSid, CallSid or Message-ID (default: a digest, so the same command sends a duplicate)"
    )
    parser.add_argument("--new", action="store_true", help="a fresh SID: another message with the same text")
    states = parser.add_mutually_exclusive_group()
    states.add_argument("--status", default="ringing", help="calls: the CallStatus, for example completed")
    states.add_argument(
        "--handoff-data", metavar="TEXT", help="calls: the AI agent hands the caller over, with this HandoffData"
    )
    states.add_argument("--session-failed", action="store_true", help="calls: the AI agent's session has failed")
    parser.add_argument("--anonymous", action="store_true", help="calls: the caller withholds the number")
    parser.add_argument("--subject", default="Hello", help="email: its subject")
    parser.add_argument("--raw", action="store_true", help="email: posted whole, as with `send_raw`, instead of parsed")
    parser.add_argument("--attachment", action="append", default=[], metavar="FILE", help="email: a file; may repeat")
    parser.add_argument(
        "--capture",
        choices=("sandbox", "router"),
        default="sandbox",
        help="messages: the sandbox records it in its conversation too, as Twilio's capture rules do, or the router"
        " alone takes it",
    )
    parser.add_argument("--channel", default="SMS", help="callbacks: the participant's channel")
    parser.add_argument("--type", dest="participant_type", default="CUSTOMER", help="callbacks: the participant's type")
    parser.add_argument("--conversation", help="callbacks: conversation id (default: made from the addresses)")
    parser.add_argument("--participant", help="callbacks: participant id (default: made from the addresses)")
    parser.add_argument("--url", help="the receiver (default: ROUTER_URL, or the one in dev.env)")
    parser.add_argument("--state-dir", default=str(STATE_DIR), help="directory in which `dev` wrote dev.env")
    parser.add_argument("--no-wait", action="store_true", help="do not wait for the resulting entries")
    load = parser.add_argument_group("load", "many customers at once, with a summary")
    load.add_argument(
        "--customers", type=_count, metavar="N", help="so many customers send it, each from an own address"
    )
    load.add_argument("--rate", type=_seconds, metavar="R", help="webhooks per second (default: as many as it takes)")
    _add_faults(parser)
    parser.epilog = _epilog()


def parse_simulate(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse a command line of `simulate`, without the command's name."""
    parser = Parser()
    add_simulate_options(parser)
    return parser.parse_args(arguments)


def _add_faults(parser: argparse.ArgumentParser) -> None:
    faults = parser.add_argument_group("faults", "repeats, disorder, delay and wrong signatures")
    faults.add_argument("--times", type=_count, default=1, metavar="N", help="send each webhook N times")
    faults.add_argument(
        "--parallel", type=_count, metavar="N", help="requests at once (default: 1, with --customers 100)"
    )
    faults.add_argument("--shuffle", action="store_true", help="random order, with the repeats among the others")
    faults.add_argument("--seed", type=int, metavar="N", help="seed of the random order (default: a new one, printed)")
    faults.add_argument(
        "--delay", type=_seconds, default=0.0, metavar="SECONDS", help="pause between requests; an average if shuffled"
    )
    faults.add_argument(
        "--age", type=_seconds, default=0.0, metavar="SECONDS", help="callbacks and events: how long ago it happened"
    )
    faults.add_argument("--tamper", action="store_true", help="alter the body after signing")
    faults.add_argument("--wrong-token", action="store_true", help="sign with another token")
    faults.add_argument("--unsigned", action="store_true", help="send no signature")


def _epilog() -> str:
    """Return the list of kinds, those of one pattern in one line, and the examples."""
    classic = [name.removeprefix(_CLASSIC) for name, kind in KINDS.items() if kind.family is Family.CLASSIC]
    streamed = {Family.STREAMED_MESSAGE, Family.STREAMED_CALLBACK}
    shown = {
        name: kind.summary
        for name, kind in KINDS.items()
        if kind.family is not Family.CLASSIC and not (kind.family in streamed and name.startswith(_EVENT_STREAM))
    }
    shown[f"{_CLASSIC}KIND"] = f"a classic conversation's webhook: {', '.join(classic)}"
    shown[f"{_EVENT_STREAM}KIND"] = "any message or status callback above, sent by Event Streams"
    indent = " " * 27
    lines = [fill(f"  {name:<24} {summary}", 116, subsequent_indent=indent) for name, summary in shown.items()]
    return "\n".join(["kinds:", *lines, "", "examples:", _EXAMPLES])


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0")
    return value
