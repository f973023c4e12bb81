#!/usr/bin/env bash
# A server-sent event that its connection cuts off must be discarded. Three clients make something of the first half.
#
# Seen with httpx-sse 0.4.3 (httpx 0.28.1), sseclient-py 1.9.0 (requests 2.34.2), requests-sse 0.5.3, aiohttp-sse-client
# 0.2.1 and aiohttp-sse-client2 0.3.0 (aiohttp 3.14.5) from PyPI, eventsource 4.1.1 from npm.
# https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation : an incomplete event at the
# end of the stream is not dispatched. The first connection of this server ends within the third line of its second
# event, as happens when a proxy or the server is restarted; the second one begins with a whole event.
# Guess before the run: some deliver the half, all of npm's discard it. That two clients put the half in front of the
# first event of the next connection, and so change an event that was sent whole, was a surprise.
# Output seen:
#   httpx-sse: "deposit 10"
#   sseclient-py: "deposit 10" "withdraw\n1"
#   requests-sse: "deposit 10" "close"
#   aiohttp-sse-client: "deposit 10" "withdraw\n1\nclose"
#   aiohttp-sse-client2: "deposit 10" "withdraw\n1\nclose"
#   eventsource: "deposit 10" "close"
set -euo pipefail
expected=$(sed -n '/^# Output seen:/,/^set /s/^#   //p' "$0")
folder=$(mktemp -d)
cd "$folder"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check httpx==0.28.1 httpx-sse==0.4.3 requests==2.34.2 \
    requests-sse==0.5.3 sseclient-py==1.9.0 aiohttp==3.14.5 aiohttp-sse-client==0.2.1 aiohttp-sse-client2==0.3.0
npm init --yes > /dev/null
npm install --silent --no-audit --no-fund eventsource@4.1.1

cat > serve.py <<'PY'
"""Print the port; answer the first request of each path with a stream that is cut off, later ones with a whole one."""

import asyncio

CUT = b"retry: 10\ndata: deposit 10\n\ndata: withdraw\ndata: 100\n\n"[: -len(b"00\n\n")]
WHOLE = b"data: close\n\n"
seen: set[bytes] = set()


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    path = (await reader.read(65536) or b"- -").split()[1]
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
    writer.write(WHOLE if path in seen else CUT)
    seen.add(path)
    writer.close()


async def main() -> None:
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
PY
python/bin/python serve.py > port &
running=$!
trap 'kill "$running"; wait "$running" || true; rm -rf "$folder"' EXIT
until [ -s port ]; do sleep 0.1; done

cat > read.py <<'PY'
"""Read two events with each client, or fewer if the stream is over for it."""

import asyncio
import importlib
import json
import logging
import sys
from itertools import islice

import httpx
import httpx_sse
import requests
import requests_sse
import sseclient

url = f"http://127.0.0.1:{sys.argv[1]}"
logging.disable()


def show(name, texts):
    print(f"{name}:", *map(json.dumps, texts))


with httpx.Client() as client, httpx_sse.connect_sse(client, "GET", f"{url}/httpx-sse") as source:
    show("httpx-sse", [event.data for event in islice(source.iter_sse(), 2)])
with requests.get(f"{url}/sseclient-py", stream=True) as response:
    events = sseclient.SSEClient(response.iter_content(64)).events()
    show("sseclient-py", [event.data for event in islice(events, 2)])
with requests_sse.EventSource(f"{url}/requests-sse") as source:
    show("requests-sse", [event.data for event in islice(source, 2)])


async def main():
    for name in ("aiohttp-sse-client", "aiohttp-sse-client2"):
        module = importlib.import_module(f"{name.replace('-', '_')}.client")
        async with module.EventSource(f"{url}/{name}") as source:
            show(name, [(await anext(source)).data, (await anext(source)).data])


asyncio.run(main())
PY
cat > read.mjs <<'JS'
import { EventSource } from "eventsource";
const source = new EventSource(`http://127.0.0.1:${process.argv[2]}/eventsource`);
const texts = [];
source.onmessage = (event) => {
  texts.push(JSON.stringify(event.data));
  if (texts.length === 2) {
    console.log("eventsource:", ...texts);
    source.close();
  }
};
JS
seen=$(python/bin/python read.py "$(cat port)"; node read.mjs "$(cat port)")
echo "$seen"
diff <(echo "$expected") <(echo "$seen")
