"""The streams, how fast they grow and who reads them; and the processes that are alive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from router.console.operations.models import ListAnswer, OperationsAnswer
from router.console.operations.parts import page_of
from router.console.pages import Page, Role, View
from router.operations.processes import list_processes
from router.operations.streams import read_streams

if TYPE_CHECKING:
    from router.console.request import ConsoleRequest


async def list_streams(request: ConsoleRequest) -> View:
    """Show all streams with their groups; those with something to do first."""
    reports = [report.to_json() for report in await read_streams(request.ports.redis, request.ports.keys)]
    return View(page_of(sorted(reports, key=_backlog, reverse=True)))


def _backlog(stream: dict[str, Any]) -> int:
    return sum(int(group[name]) for group in stream["groups"] for name in ("lag", "pending", "parked"))


async def show_samples(request: ConsoleRequest) -> View:
    """Return the curves of rate and lag."""
    return View(request.ports.samples.columns())


async def list_all_processes(request: ConsoleRequest) -> View:
    """Show the processes that are alive, and those that have died within a day."""
    found = await list_processes(request.ports.redis, request.ports.keys)
    return View(page_of([process.to_json() for process in sorted(found, key=lambda one: one.is_alive)]))


PAGES: Final = (
    Page(
        "GET",
        "/streams",
        list_streams,
        Role.VIEWER,
        "Streams",
        "operations/streams.html",
        navigation="Streams",
        answer=ListAnswer,
    ),
    Page("GET", "/streams/samples", show_samples, Role.VIEWER, "Samples of the streams", answer=OperationsAnswer),
    Page(
        "GET",
        "/processes",
        list_all_processes,
        Role.VIEWER,
        "Processes",
        "operations/processes.html",
        navigation="Processes",
        answer=ListAnswer,
    ),
)
