"""Command line options of the tools, apart from the tools: `--help` must not import them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import argparse

#: Webhooks of classic conversations; the ones without -ed ask before it happens.
_CLASSIC: Final = (
    *(
        f"{what}-{how}"
        for what in ("conversation", "participant", "message")
        for how in ("add", "added", "update", "updated", "remove", "removed")
    ),
    *("state-updated", "delivery-updated", "user-added", "user-update", "user-updated"),
)
KINDS: Final = (
    "sms",
    "mms",
    "whatsapp",
    "rcs",
    "messenger",
    "event-stream",
    "conversation-created",
    "conversation-updated",
    "conversation-closed",
    "participant-added",
    "participant-updated",
    "participant-removed",
    "communication-created",
    "communication-updated",
    *(f"classic-{kind}" for kind in _CLASSIC),
)
GROUPING_TYPES: Final = (
    "GROUP_BY_PARTICIPANT_ADDRESSES_AND_CHANNEL_TYPE",
    "GROUP_BY_PARTICIPANT_ADDRESSES",
    "GROUP_BY_PROFILE",
)


def add_simulate_options(parser: argparse.ArgumentParser) -> None:
    """Add what `simulate` takes."""
    parser.add_argument("kind", choices=KINDS, metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--from", dest="sender", default="+15551230001", help="the customer's address")
    parser.add_argument("--to", dest="recipient", default="+15557650000", help="our address")
    parser.add_argument("--body", default="hi", help="text of the message")
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
