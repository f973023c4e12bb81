#!/usr/bin/env bash
# The AsyncAPI 2.6 document of a FastStream application names streams that do not exist.
#
# Seen with faststream 0.7.8 from PyPI and @asyncapi/converter 2.0.2 from npm.
# https://www.asyncapi.com/docs/reference/specification/v2.6.0#channelsObject : the name of a channel is its address. In
# version 3 a channel has a name of the document's own, and its address beside it.
# Guess before the run: both documents of one application have the same addresses. Only that of version 3 has the keys of
# the streams; that of version 2.6 appends the name of the function, also after a colon, which is usual in keys. A client
# that is generated from it, here the converter to version 3, uses streams that nobody writes and nobody reads.
# Output seen:
#   version 2.6: receive router:joined:Take, send router:answers:Publisher
#   version 2.6, converted to 3: receive router:joined:Take, send router:answers:Publisher
#   version 3: receive router:joined, send router:answers
set -euo pipefail
expected=$(sed -n '/^# Output seen:/,/^set /s/^#   //p' "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check "faststream[redis]==0.7.8"
npm init --yes > /dev/null
npm install --silent --no-audit --no-fund @asyncapi/converter@2.0.2

cat > describe.py <<'PY'
"""Write the documents of one application in both versions."""

from pathlib import Path

from faststream import FastStream
from faststream.redis import RedisBroker, StreamSub
from faststream.specification import AsyncAPI
from pydantic import BaseModel


class Joined(BaseModel):
    id: str


broker = RedisBroker()


@broker.subscriber(stream=StreamSub("router:joined", group="ai-agent", consumer="one"))
@broker.publisher(stream="router:answers")
async def take(entry: Joined) -> str:
    return entry.id


for version in ("2.6.0", "3.0.0"):
    app = FastStream(broker, specification=AsyncAPI(schema_version=version))
    Path(f"{version[0]}.json").write_text(app.schema.to_specification().to_json())
PY
cat > show.js <<'JS'
// Print the addresses of both documents, and of the older one as the converter reads it.
const { readFileSync } = require("node:fs");
const { convert } = require("@asyncapi/converter");

const text = readFileSync("2.json", "utf8");
const show = (name, found) => console.log(`${name}: ${found.join(", ")}`);
show("version 2.6", Object.entries(JSON.parse(text).channels).map(
  ([address, channel]) => `${channel.publish ? "receive" : "send"} ${address}`));
const operations = (document) => Object.values(document.operations).map(({ action, channel }) => {
  const name = channel.$ref.slice("#/channels/".length);
  return `${action} ${document.channels[name].address}`;
});
const converted = convert(text, "3.0.0");
show("version 2.6, converted to 3", operations(typeof converted === "string" ? JSON.parse(converted) : converted));
show("version 3", operations(JSON.parse(readFileSync("3.json", "utf8"))));
JS
python/bin/python -W ignore describe.py
seen=$(node show.js)
echo "$seen"
diff <(echo "$expected") <(echo "$seen")
