"""The port of a consumer for operators: `/readyz`, and metrics at every other path.

It runs in a thread of its own, so that it answers also if the event loop does not run.
"""

from __future__ import annotations

import json
import socket
import threading
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from wsgiref.simple_server import make_server

from prometheus_client import make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer, _SilentHandler

from router.metrics import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from router.settings.model import Settings

#: Seconds within which the thread notices that it is to end.
POLL: Final = 0.1


@contextmanager
def metrics_port(settings: Settings, find_problem: Callable[[], str | None] = lambda: None) -> Iterator[None]:
    """Serve on ROUTER_METRICS_PORT while the block runs; port 0 serves nothing. Raises OSError for a port in use.

    `find_problem` is called in the thread, before metrics are collected too; it returns why the process is not ready.
    """
    if not settings.metrics_port:
        yield
        return

    class Server(ThreadingWSGIServer):
        address_family, _ = _best_address(settings.host, settings.metrics_port)

    server = make_server(
        _best_address(settings.host, settings.metrics_port)[1],
        settings.metrics_port,
        _make_application(find_problem),
        Server,
        handler_class=_SilentHandler,
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": POLL}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _best_address(host: str, port: int) -> tuple[socket.AddressFamily, str]:
    family, *_, address = next(iter(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))
    return family, str(address[0])


def _make_application(find_problem: Callable[[], str | None]) -> Any:
    render = make_wsgi_app(REGISTRY)

    def application(request: dict[str, Any], start_response: Any) -> Any:
        problem = find_problem()
        if request["PATH_INFO"] != "/readyz":
            return render(request, start_response)
        status = HTTPStatus.SERVICE_UNAVAILABLE if problem else HTTPStatus.OK
        start_response(f"{status.value} {status.phrase}", [("Content-Type", "application/json")])
        answer = {"status": "not ready", "reason": problem} if problem else {"status": "ready"}
        return [json.dumps(answer).encode()]

    return application
