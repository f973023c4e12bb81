"""Calls of PyPI's twilio, one JSON line each: run by tests/interop/sdks.py in the SDK's own environment.

A line of stdin names the resource, the verb and its arguments; the line of stdout that answers it has what the SDK made
of the response, and the bytes of the response.
"""

import json
import re
import sys
from datetime import datetime
from urllib.parse import urlsplit

from twilio.base.exceptions import TwilioException
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

VERBS = {"create", "fetch", "update", "patch", "delete", "list"}


class RecordingHttpClient(TwilioHttpClient):
    """Sends every request to the sandbox, whatever its host, and records the responses."""

    def __init__(self, sandbox: str) -> None:
        super().__init__(timeout=30)
        self.sandbox, self.exchanges = sandbox, []
        self.session.trust_env = False  # no proxy of the environment

    def request(self, method, url, *args, **kwargs):
        parts = urlsplit(url)
        target = f"{self.sandbox}{parts.path}?{parts.query}".rstrip("?")
        response = super().request(method, target, *args, **kwargs)
        exchange = {"method": method, "path": parts.path, "status": response.status_code}
        self.exchanges.append(exchange | {"text": response.text, "headers": dict(response.headers)})
        return response


def snake(name: str) -> str:
    """Return the SDK's spelling of a field, such as messaging_binding_address."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).replace(".", "_").replace("-", "_").lower()


def find(root, path):
    """Follow a path: texts are attributes, lists the arguments of a call."""
    for step in path:
        root = root(*step) if isinstance(step, list) else getattr(root, step)
    return root


def arguments(resource, call) -> dict:
    """Return the keyword arguments of a call: fields of a form or query, or a body as the SDK's model."""
    given = {snake(name): value for name, value in call["fields"].items()}
    if call["model"]:
        classes = vars(sys.modules[type(resource).__module__]).values()
        owner = next(each for each in classes if isinstance(each, type) and hasattr(each, call["model"]))
        given[snake(call["model"])] = getattr(owner, call["model"])(call["body"])
    return given


def plain(value):
    """Return a value as JSON; times are marked."""
    if isinstance(value, datetime):
        return {"$time": f"{value:%Y-%m-%dT%H:%M:%SZ}"}
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list) else value


def seen(value):
    """Return the fields of a resource, or a list of them, or a plain value."""
    if isinstance(value, list):
        return [seen(each) for each in value]
    if not hasattr(value, "__dict__"):
        return plain(value)
    return {name: plain(each) for name, each in vars(value).items() if not name.startswith("_")}


def run(client, call) -> dict:
    """Make one call."""
    try:
        method = getattr(find(client, call["path"]), call["verb"])
        resource = method.__self__
    except AttributeError as error:
        return {"absent": str(error)}
    try:
        found = method(**arguments(resource, call))
    except TwilioException as error:
        status, code = getattr(error, "status", None), getattr(error, "code", None)
        return {"error": {"type": type(error).__name__, "status": status, "code": code}}
    except Exception as error:  # noqa: BLE001 - whatever the SDK raises for a response is the finding
        return {"crash": f"{type(error).__name__}: {error}"}
    return {"seen": seen(found)}


def main(sandbox: str, username: str, password: str, account: str) -> None:
    """Answer calls until stdin ends."""
    http_client = RecordingHttpClient(sandbox)
    client = Client(username, password, account, http_client=http_client)
    for line in sys.stdin:
        http_client.exchanges = []
        answer = run(client, json.loads(line))
        sys.stdout.write(json.dumps(answer | {"exchanges": http_client.exchanges}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
