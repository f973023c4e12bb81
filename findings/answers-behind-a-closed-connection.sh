#!/usr/bin/env bash
# With uvloop, writing to a connection that has just been aborted raises, and those behind it in a loop get nothing.
#
# Seen with uvloop 0.23.0 from PyPI, and asyncio of Python 3.11.
# https://docs.python.org/3/library/asyncio-protocol.html#asyncio.BaseTransport.is_closing : a transport that is closed
# takes no more data; that write() may raise is said nowhere. A server that answers many callers in a row, or sends live
# events to many pages, holds transports that may have been closed a moment ago, and connection_lost() comes later.
# Guess before the run: both loops drop the data, and asyncio logs a warning after some writes. asyncio does; uvloop raises
# a RuntimeError from the next turn of the loop on. Within the same turn it drops the data as well.
# Output seen:
#   asyncio: written in the same turn, 2 of 3 callers have their answer
#   asyncio: written a turn later, 2 of 3 callers have their answer
#   uvloop: written in the same turn, 2 of 3 callers have their answer
#   uvloop: written a turn later, RuntimeError, 1 of 3 callers have their answer
set -euo pipefail
expected=$(sed -n '/^# Output seen:/,/^set /s/^#   //p' "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check uvloop==0.23.0

cat > answer.py <<'PY'
"""Answer three callers in a row, of which the second connection has been aborted: LOOP TURNS."""

import asyncio
import sys


class Callers(asyncio.Protocol):
    """Keeps the transports of its callers, in order."""

    transports = []

    def connection_made(self, transport):
        self.transports.append(transport)


async def has_answer(reader):
    try:
        return await reader.read(6) == b"answer"
    except OSError:
        return False


async def main(name, turns):
    server = await asyncio.get_running_loop().create_server(Callers, "127.0.0.1", 0)
    connections = []
    for number in range(1, 4):
        connections.append(await asyncio.open_connection(*server.sockets[0].getsockname()))
        while len(Callers.transports) < number:
            await asyncio.sleep(0)
    Callers.transports[1].abort()
    for _ in range(turns):
        await asyncio.sleep(0)
    words = ["written a turn later" if turns else "written in the same turn"]
    try:
        for transport in Callers.transports:
            transport.write(b"answer")
    except RuntimeError:
        words.append("RuntimeError")
    for transport in Callers.transports:
        transport.close()
    count = sum([await has_answer(reader) for reader, _ in connections])
    print(f"{name}: {', '.join(words)}, {count} of 3 callers have their answer")


if sys.argv[1] == "uvloop":
    import uvloop

    uvloop.run(main("uvloop", int(sys.argv[2])))
else:
    asyncio.run(main("asyncio", int(sys.argv[2])))
PY
seen=$(for loop in asyncio uvloop; do
    for turns in 0 1; do
        python/bin/python answer.py $loop $turns
    done
done)
echo "$seen"
diff <(echo "$expected") <(echo "$seen")
