"""Command line options of the tools, apart from the tools: `--help` must not import them."""

from __future__ import annotations

import argparse
from typing import Final

from router.core.events import SourceName
from router.core.refused import REASONS

GROUPING_TYPES: Final = (
    "GROUP_BY_PARTICIPANT_ADDRESSES_AND_CHANNEL_TYPE",
    "GROUP_BY_PARTICIPANT_ADDRESSES",
    "GROUP_BY_PROFILE",
)


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
    parser.formatter_class = HelpFormat
    parser.epilog = _SANDBOX


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


class HelpFormat(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows defaults where there is one, and the lists at the end as they are written."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return super()._get_help_string(action) if action.default else action.help
