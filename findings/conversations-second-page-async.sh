#!/usr/bin/env bash
# Twilio's asynchronous Python client reads one page of a list of the Conversations v2 API, and fails at the second.
#
# Seen with twilio 9.13.0, aiohttp 3.14.5 and aiohttp-retry 2.9.1 from PyPI.
# https://www.twilio.com/docs/conversations : lists of v2 have a `meta` with `nextToken`, which is the `pageToken` of the
# next request. The server below answers so, for three pages of two conversations.
# Guess before the run: a list reads all pages, or stops silently after the first. The synchronous client reads all three.
# The asynchronous one asks for the second page with a call that it does not await: the request is never sent, and the
# list ends with an AttributeError about a coroutine. A list that fits on one page works.
# Output seen:
#   list(): 6 conversations
#   list_async(): AttributeError, 'coroutine' object has no attribute 'status_code'
#   list_async(), a page of six: 6 conversations
#   requests: first page, page 1, page 2, first page, first page
set -euo pipefail
expected=$(sed -n '/^# Output seen:/,/^set /s/^#   //p' "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check twilio==9.13.0 aiohttp==3.14.5 aiohttp-retry==2.9.1

cat > pages.py <<'PY'
"""List the conversations of a server in this process, with both clients."""

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from twilio.http.async_http_client import AsyncTwilioHttpClient
from twilio.rest import Client

COUNT = 6
asked = []


class Conversations(BaseHTTPRequestHandler):
    """Answers with one page of the list."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        page, size = int(query.get("pageToken", 0)), int(query["pageSize"])
        asked.append(f"page {page}" if page else "first page")
        numbers = range(COUNT)[page * size : (page + 1) * size]
        following = str(page + 1) if (page + 1) * size < COUNT else None
        meta = {"key": "conversations", "pageSize": size, "nextToken": following, "previousToken": None}
        moment = "2026-11-01T12:00:00Z"
        rows = [{"id": f"conv_{number}", "createdAt": moment, "updatedAt": moment} for number in numbers]
        body = json.dumps({"conversations": rows, "meta": meta}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


async def list_async(url, size):
    http_client = AsyncTwilioHttpClient()
    client = Client("AC" + "0" * 32, "token", http_client=http_client)
    client.conversations.base_url = url
    try:
        found = await client.conversations.v2.conversations.list_async(page_size=size)
        return f"{len(found)} conversations"
    except AttributeError as error:
        return f"AttributeError, {error}"
    finally:
        await http_client.close()


server = ThreadingHTTPServer(("127.0.0.1", 0), Conversations)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}"
client = Client("AC" + "0" * 32, "token")
client.conversations.base_url = url
print(f"list(): {len(client.conversations.v2.conversations.list(page_size=2))} conversations")
print("list_async():", asyncio.run(list_async(url, 2)))
print("list_async(), a page of six:", asyncio.run(list_async(url, COUNT)))
print("requests:", ", ".join(asked))
PY
seen=$(python/bin/python -W ignore pages.py)
echo "$seen"
diff <(echo "$expected") <(echo "$seen")
