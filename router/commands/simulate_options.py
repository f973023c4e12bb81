"""Command line options of `simulate`, apart from the tool: `--help` must not import the builders."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

from router.commands.options import HelpFormat

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Whom a simulated webhook is from and to, unless the command says so.
CUSTOMER, OURS = "+15551230001", "+15557650000"
#: Webhooks of classic conversations; the ones without -ed ask before it happens.
_CLASSIC: Final = (
    *(
        f"{what}-{how}"
        for what in ("conversation", "participant", "message")
        for how in ("add", "added", "update", "updated", "remove", "removed")
    ),
    *("state-updated", "delivery-updated", "user-added", "user-update", "user-updated"),
)
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
#: Of every kind of webhook what it says. How each is made stands in router.simulator.kinds.
KINDS: Final = {
    **_TOLD,
    **_AGAIN,
    "event-stream": "the same as event-stream-sms",
    "event-stream-test": "the event by which an Event Streams sink is tried",
    "message-status": "status callback of a message that we sent",
    "voice": "a call comes in, or is over (--status); what the sandbox does with the answer is Twilio's part",
    "email": "a mail, as Inbound Parse posts it",
    **{f"classic-{kind}": "webhook of a classic conversation" for kind in _CLASSIC},
}

_EXAMPLES: Final = """\
  simulate sms --from +15551230001 --body "hi"           one message; the same again is a repeat
  simulate sms --times 20 --parallel 20                  twenty copies at once
  simulate sms whatsapp event-stream-sms participant-added --times 3 --shuffle --seed 7 --delay 0.2
                                                         one customer, told of many times in random order
  simulate participant-updated --type UNKNOWN --age 3600 stale: it tells of an hour ago
  simulate sms --tamper                                  is answered 403
  simulate voice; simulate voice --status completed      a call, and its end
  simulate email --subject Order --attachment order.pdf  a mail with an attachment
"""


def add_simulate_options(parser: argparse.ArgumentParser) -> None:
    """Add what `simulate` takes."""
    parser.add_argument("kinds", choices=KINDS, nargs="+", metavar="KIND", help="see below; several make a scenario")
    parser.add_argument("--from", dest="sender", default=CUSTOMER, help="the customer's address")
    parser.add_argument("--to", dest="recipient", default=OURS, help="our address")
    parser.add_argument("--body", default="hi", help="text of the message")
    parser.add_argument(
        "--sid", help="MessageSid, CallSid or Message-ID (default: made from the message, so the same is a repeat)"
    )
    parser.add_argument("--new", action="store_true", help="a fresh SID: another message with the same words")
    parser.add_argument("--status", default="ringing", help="calls: the CallStatus, for example completed")
    parser.add_argument("--anonymous", action="store_true", help="calls: the caller withholds the number")
    parser.add_argument("--subject", default="Hello", help="email: its subject")
    parser.add_argument("--raw", action="store_true", help="email: posted whole, as with `send_raw`, instead of parsed")
    parser.add_argument("--attachment", action="append", default=[], metavar="FILE", help="email: a file; may repeat")
    parser.add_argument("--channel", default="SMS", help="callbacks: the participant's channel")
    parser.add_argument("--type", dest="participant_type", default="CUSTOMER", help="callbacks: the participant's type")
    parser.add_argument("--conversation", help="callbacks: conversation id (default: made from the addresses)")
    parser.add_argument("--participant", help="callbacks: participant id (default: made from the addresses)")
    parser.add_argument("--url", help="the receiver (default: ROUTER_URL, or dev.env's)")
    parser.add_argument("--state-dir", default=".state", help="where `dev` wrote dev.env")
    parser.add_argument("--no-wait", action="store_true", help="do not wait to see what comes of it")
    _add_faults(parser)
    parser.formatter_class = HelpFormat
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


def _epilog() -> str:
    shown = {kind: says for kind, says in KINDS.items() if kind not in _AGAIN and not kind.startswith("classic-")}
    shown["classic-KIND"] = f"a classic conversation's webhook: {', '.join(_CLASSIC)}"
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
