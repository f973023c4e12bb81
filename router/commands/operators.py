"""The options of the commands for operators: status, waiting, dead letters, quarantine, groups; and their filters."""

from __future__ import annotations

import argparse
import time

from router.commands.options import add_state_dir
from router.core.events import SourceName
from router.core.refused import REASONS
from router.core.timestamps import MOMENTS, read_moment


def add_status_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `status`."""
    parser.add_argument("--json", action="store_true", help="print the whole state as one JSON object")
    add_state_dir(parser)
    parser.epilog = "exit status: 0 ok, 1 degraded, 2 down"


def add_waiting_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `waiting`."""
    _add_listing(parser)
    _add_filters(parser)


def add_dead_letter_options(parser: argparse.ArgumentParser) -> None:
    """Add the actions of `dead-letters` and their options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|show|replay|drop")
    listing = actions.add_parser("list", help="what was given up, when and why")
    _add_listing(listing)
    show = actions.add_parser("show", help="one letter decoded, and what a replay would do")
    _add_show(show, "write the entry's document or body to FILE (-: standard output), nothing masked")
    text = "put entries back on their streams; consumers that had finished with one ignore it"
    replay = actions.add_parser("replay", help=text, description=text)
    drop = actions.add_parser("drop", help="remove letters for good")
    _add_bulk(replay, "dead letters")
    _add_bulk(drop, "dead letters")
    _add_yes(drop)
    for each in (listing, replay, drop):
        _add_filters(each)


def add_quarantine_options(parser: argparse.ArgumentParser) -> None:
    """Add the actions of `quarantine` and their options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|show|replay|drop")
    listing = actions.add_parser("list", help="what was refused, when and why")
    _add_listing(listing)
    show = actions.add_parser("show", help="headers, reason and body of one entry, private values masked")
    _add_show(show, "write the request to FILE (-: standard output), nothing masked")
    text = "check entries again with the current settings and accept what is right; the rest stays (status 1)"
    replay = actions.add_parser("replay", help=text, description=text)
    _add_bulk(replay, "entries")
    replay.add_argument(
        "--trust",
        action="store_true",
        help="accept these ids without checking their signatures, for a token that is gone",
    )
    drop = actions.add_parser("drop", help="remove entries for good")
    _add_bulk(drop, "entries")
    _add_yes(drop)
    for each in (listing, replay, drop):
        each.add_argument("--reason", choices=REASONS, help="only entries refused for this reason")
        each.add_argument("--source", choices=[str(name) for name in SourceName], help="only entries of this source")
        each.add_argument("--account", metavar="SID", help="only entries that name this account")
        each.add_argument("--event", metavar="ID", help="only entries of this event id")
        _add_times(each)


def add_erase_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `erase`."""
    parser.add_argument("address", metavar="ADDRESS", help="phone number (+1555...), mailbox or identity of a customer")
    parser.add_argument("--dry-run", action="store_true", help="show what is kept where, and erase nothing")
    parser.add_argument("--yes", action="store_true", help="do it: without, only what would be erased is shown")
    parser.add_argument("--json", action="store_true", help="print the report as one JSON object")
    add_state_dir(parser)
    parser.epilog = "exit status: 0 done, 1 something could not be erased yet, 2 wrong usage"


def add_group_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `groups`."""
    parser.add_argument("action", choices=("list", "remove"))
    parser.add_argument("name", nargs="?", metavar="NAME", help="the group to remove from all streams")
    parser.add_argument("--json", action="store_true", help="print JSON lines, with the consumers of each group")
    add_state_dir(parser)


def _add_listing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="list as JSON lines")
    parser.add_argument("--unmasked", action="store_true", help="list numbers, mailboxes and bodies as they are")
    parser.add_argument("--limit", type=_count, metavar="N", help="list the first N only")
    add_state_dir(parser)


def _add_show(parser: argparse.ArgumentParser, raw: str) -> None:
    parser.add_argument("id", metavar="ID", help="as `list` shows it")
    parser.add_argument("--raw", metavar="FILE", help=raw)
    parser.add_argument("--json", action="store_true", help="print it as one JSON object")
    parser.add_argument("--unmasked", action="store_true", help="show numbers, mailboxes and bodies as they are")
    add_state_dir(parser)


def _add_bulk(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("ids", nargs="*", metavar="ID", help=f"{what}, as `list` shows them")
    parser.add_argument("--all", action="store_true", help=f"all {what}, or those that the filters take")
    parser.add_argument("--dry-run", action="store_true", help="say for each what would be done, and do nothing")
    parser.add_argument("--json", action="store_true", help="print the outcomes as JSON lines")
    add_state_dir(parser)


def _add_yes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="do it: without, only their number is shown")


def _add_filters(parser: argparse.ArgumentParser) -> None:
    filters = parser.add_argument_group("filters")
    filters.add_argument("--reason", metavar="TEXT", help="only with this text in the reason, whatever its case")
    filters.add_argument("--stream", metavar="NAME", help="only of this stream: its key, or inbound, commands, ...")
    filters.add_argument("--group", metavar="NAME", help="only of this consumer group")
    filters.add_argument("--account", metavar="SID", help="only of this account")
    filters.add_argument("--event", metavar="WORD", help="only of this event id, idempotency key, source or type")
    _add_times(filters)


def _add_times(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--since", type=read_time, metavar="TIME", help=f"only from then on: {MOMENTS}")
    parser.add_argument("--until", type=read_time, metavar="TIME", help="only before")


def read_time(text: str) -> int:
    """Return the time that an option names, in µs since 1970; raises ArgumentTypeError."""
    found = read_moment(text, time.time_ns() // 1000)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: write {MOMENTS}")
    return found


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)
