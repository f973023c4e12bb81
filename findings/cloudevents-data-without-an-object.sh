#!/usr/bin/env bash
# JSON data of a CloudEvent that is no object or list arrives as something else, or not at all, between the two SDKs.
#
# Seen with cloudevents 10.0.0 from npm and cloudevents 2.2.0 from PyPI.
# https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md#31-handling-of-data : with a JSON
# datacontenttype `data` may be any JSON value. In the binary mode of HTTP the body is the data itself, which is then
# JSON text: a string has its quotes, false is written false. Each value below is sent by one SDK and read by the other,
# with datacontenttype application/json.
# Guess before the run: only strings like "7" are in danger, in the binary mode. In fact Node drops 0, false and the
# empty string of every structured event, Python writes false as False, and both send strings without quotes.
# Output seen:
#   node to python, structured: 0 -> 0, 7 -> 7, false -> false, "" -> "", "7" -> "7", "open" -> "open"
#   node to python, binary: 0 -> 0, 7 -> 7, false -> false, "" -> nothing, "7" -> 7, "open" -> "open"
#   python to node, structured: 0 -> nothing, 7 -> 7, false -> nothing, "" -> nothing, "7" -> "7", "open" -> "open"
#   python to node, binary: 0 -> "0", 7 -> "7", false -> "False", "" -> "", "7" -> "7", "open" -> "open"
set -euo pipefail
expected=$(sed -n '/^# Output seen:/,/^set /s/^#   //p' "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check cloudevents==2.2.0
npm init --yes > /dev/null
npm install --silent --no-audit --no-fund cloudevents@10.0.0
echo '[0, 7, false, "", "7", "open"]' > values.json

cat > cloudevents.js <<'JS'
// send MODE: print the messages of all values; read: print the data of the messages of standard input.
const { readFileSync } = require("node:fs");
const { CloudEvent, HTTP } = require("cloudevents");

const attributes = { type: "t", source: "/s", id: "1", datacontenttype: "application/json" };
if (process.argv[2] === "send") {
  const values = JSON.parse(readFileSync("values.json"));
  const messages = values.map((data) => HTTP[process.argv[3]](new CloudEvent({ ...attributes, data })));
  console.log(JSON.stringify(messages.map(({ headers, body }) => ({ headers, body: String(body) }))));
} else {
  const found = JSON.parse(readFileSync(0)).map((message) => HTTP.toEvent(message).data);
  console.log(JSON.stringify(found.map((data) => (data === undefined ? [] : [data]))));
}
JS
cat > events.py <<'PY'
"""send MODE: print the messages of all values; read: print the data of the messages of standard input."""

import json
import sys
from pathlib import Path

from cloudevents.core.bindings.http import HTTPMessage, from_http_event, to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent

ATTRIBUTES = {"type": "t", "source": "/s", "id": "1", "specversion": "1.0", "datacontenttype": "application/json"}
if sys.argv[1] == "send":
    write = {"binary": to_binary_event, "structured": to_structured_event}[sys.argv[2]]
    messages = [write(CloudEvent(ATTRIBUTES, data)) for data in json.loads(Path("values.json").read_text())]
    print(json.dumps([{"headers": dict(one.headers), "body": one.body.decode()} for one in messages]))
else:
    messages = [HTTPMessage(one["headers"], one["body"].encode()) for one in json.load(sys.stdin)]
    found = [from_http_event(message).get_data() for message in messages]
    print(json.dumps([[] if data is None else [data] for data in found]))
PY
cat > compare.py <<'PY'
"""Print each value and what has arrived, from standard input."""

import json
import sys
from pathlib import Path

values, arrived = json.loads(Path("values.json").read_text()), json.load(sys.stdin)
pairs = zip(values, arrived, strict=True)
print(", ".join(f"{json.dumps(value)} -> {json.dumps(found[0]) if found else 'nothing'}" for value, found in pairs))
PY
node() { command node cloudevents.js "$@"; }
python() { python/bin/python events.py "$@"; }
seen=$(for way in "node python" "python node"; do
    for mode in structured binary; do
        read -r sender reader <<< "$way"
        echo "$sender to $reader, $mode: $("$sender" send $mode | "$reader" read | python3 compare.py)"
    done
done)
echo "$seen"
diff <(echo "$expected") <(echo "$seen")
