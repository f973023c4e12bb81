"""Command line options of the tools, apart from the tools: `--help` must not import them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

#: What webhooks of their own say, and Event Streams says again.
_TOLD: Final = {
    "sms": "a text message comes in",
    "mms": "a text message with a picture",
    "whatsapp": "a WhatsApp message",
    "rcs": "an RCS message",
    "messenger": "a Messenger message",
    "conversation-created": "status callback: a conversation has been opened",
    "conversation-updated": "... has changed",
    "conversation-closed": "... has been closed",
    "participant-added": "status callback: a participant is in a conversation",
    "participant-updated": "... has changed",
    "participant-removed": "... has left",
    "communication-created": "status callback: something was said",
    "communication-updated": "... was delivered or read",
}
_AGAIN: Final = {f"event-stream-{kind}": f"{kind}, told by Event Streams" for kind in _TOLD}
#: Of every kind of webhook what it says. How each is made stands in router.commands.kinds.
KINDS: Final = {
    **_TOLD,
    **_AGAIN,
    "event-stream": "the same as event-stream-sms",
    "event-stream-test": "the event by which an Event Streams sink is tried",
}
GROUPING_TYPES: Final = (
    "GROUP_BY_PARTICIPANT_ADDRESSES_AND_CHANNEL_TYPE",
    "GROUP_BY_PARTICIPANT_ADDRESSES",
    "GROUP_BY_PROFILE",
)


_EXAMPLES: Final = """\
  simulate sms --from +15551230001 --body "hi"           one message; the same again is a repeat
  simulate sms --times 20 --parallel 20                  twenty copies at once
  simulate sms whatsapp event-stream-sms participant-added --times 3 --shuffle --seed 7 --delay 0.2
                                                         one customer, told of many times in random order
  simulate participant-updated --type UNKNOWN --age 3600 stale: it tells of an hour ago
  simulate sms --tamper                                  is answered 403
"""


def add_simulate_options(parser: argparse.ArgumentParser) -> None:
    """Add what `simulate` takes."""
    parser.add_argument("kinds", choices=KINDS, nargs="+", metavar="KIND", help="see below; several make a scenario")
    parser.add_argument("--from", dest="sender", default="+15551230001", help="the customer's address")
    parser.add_argument("--to", dest="recipient", default="+15557650000", help="our address")
    parser.add_argument("--body", default="hi", help="text of the message")
    parser.add_argument("--sid", help="MessageSid (default: made from the message, so the same again is a repeat)")
    parser.add_argument("--new", action="store_true", help="a fresh MessageSid: another message with the same words")
    parser.add_argument("--channel", default="SMS", help="callbacks: the participant's channel")
    parser.add_argument("--type", dest="participant_type", default="CUSTOMER", help="callbacks: the participant's type")
    parser.add_argument("--conversation", help="callbacks: conversation id (default: made from the addresses)")
    parser.add_argument("--participant", help="callbacks: participant id (default: made from the addresses)")
    parser.add_argument("--url", help="the receiver (default: ROUTER_URL, or dev.env's)")
    parser.add_argument("--state-dir", default=".state", help="where `dev` wrote dev.env")
    parser.add_argument("--no-wait", action="store_true", help="do not wait to see what comes of it")
    _add_faults(parser)
    parser.formatter_class = _Help
    parser.epilog = _epilog()


def parse_simulate(arguments: Sequence[str]) -> argparse.Namespace:
    """Return what a command line of `simulate` says, without the command's name."""
    parser = argparse.ArgumentParser()
    add_simulate_options(parser)
    return parser.parse_args(arguments)


def _add_faults(parser: argparse.ArgumentParser) -> None:
    faults = parser.add_argument_group("faults", "what the network and other people do to webhooks")
    faults.add_argument("--times", type=_count, default=1, metavar="N", help="send each of them N times")
    faults.add_argument("--parallel", type=_count, default=1, metavar="N", help="so many at once")
    faults.add_argument("--shuffle", action="store_true", help="in random order, the repeats among the others")
    faults.add_argument("--seed", type=int, metavar="N", help="of the random order (default: a new one, printed)")
    faults.add_argument(
        "--delay", type=_seconds, default=0.0, metavar="SECONDS", help="pause between two; shuffled: on average"
    )
    faults.add_argument(
        "--age", type=_seconds, default=0.0, metavar="SECONDS", help="callbacks and events: so long ago it happened"
    )
    faults.add_argument("--tamper", action="store_true", help="alter the body after signing")
    faults.add_argument("--wrong-token", action="store_true", help="sign with another token")
    faults.add_argument("--unsigned", action="store_true", help="send no signature")


class _Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows defaults where there is one, and the lists at the end as they are written."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return super()._get_help_string(action) if action.default else action.help


def _epilog() -> str:
    shown = {kind: says for kind, says in KINDS.items() if kind not in _AGAIN}
    shown["event-stream-KIND"] = "Event Streams tells any of the first ones"
    lines = [f"  {kind:<24} {says}" for kind, says in shown.items()]
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


_SANDBOX: Final = """\
what no client of the API can do, in JSON over HTTP (router/sandbox/admin.py lists all of it):
  POST  /sandbox/clock    {"advanceSeconds": 3600}     time passes: timers of v2 and classic conversations run out
  POST  /sandbox/capture  {"channel": "SMS", "from": "+15551230001", "to": "+15557650000", "body": "hi"}
                                                       Twilio takes traffic in by itself
  POST  /sandbox/faults   {"status": 503, "times": 3}  the next three requests fail (also: hang, reset, latencySeconds)
  GET   /sandbox/options                               every switch and how it stands; PATCH or --set turns one

examples:
  sandbox --callback-url http://127.0.0.1:8080/webhooks/conversations --set callback_duplicates=2
  sandbox --set callback_order=shuffled --set inactive_blocks=false
  curl -u "$TWILIO_API_KEY:$TWILIO_API_SECRET" -d '{"advanceSeconds": 3600}' http://127.0.0.1:8081/sandbox/clock
"""


def add_sandbox_options(parser: argparse.ArgumentParser) -> None:
    """Add what `sandbox` takes."""
    parser.add_argument("--host", default="127.0.0.1", help="listen on this address")
    parser.add_argument("--port", type=int, default=8081, help="listen there (0: a free one)")
    parser.add_argument("--callback-url", help="send signed status callbacks there")
    parser.add_argument("--grouping", choices=GROUPING_TYPES, default=GROUPING_TYPES[0], help="how conversations group")
    parser.add_argument(
        "--set", action="append", default=[], metavar="SWITCH=VALUE", dest="switches", help="turn a switch; may repeat"
    )
    parser.formatter_class = _Help
    parser.epilog = _SANDBOX
