#!/usr/bin/env bash
# A service in Node that passes a valid traceparent on can make one that nobody reads: its flags get a third digit.
#
# Seen with @opentelemetry/core 2.12.1 and @opentelemetry/api 1.9.1 from npm, opentelemetry-api 1.45.2 from PyPI.
# https://www.w3.org/TR/trace-context-2/#trace-flags : the flags are two hexadecimal digits. The two lowest bits have a
# meaning so far; the others, which later versions may use, are to be ignored, and sent as zero. Each program below
# extracts the header and injects the context into the next request, as a service does that records no span of its own;
# then the other one reads what came out.
# Guess before the run: both send the unknown bits on as they came. Python does; Node writes a zero before the number,
# whatever its length, so that every value from 10 on has three digits, and the trace ends at the next service.
# Output seen:
#   01: node sends 01, which python reads; python sends 01, which node reads
#   03: node sends 03, which python reads; python sends 03, which node reads
#   11: node sends 011, which python does not read; python sends 11, which node reads
#   ff: node sends 0ff, which python does not read; python sends ff, which node reads
set -euo pipefail
expected=$(sed -n '/^# Output seen:/,/^set /s/^#   //p' "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check opentelemetry-api==1.45.2
npm init --yes > /dev/null
npm install --silent --no-audit --no-fund @opentelemetry/core@2.12.1 @opentelemetry/api@1.9.1

cat > pass.js <<'JS'
// Print what becomes of each header on its way through a service, "nothing" if it is not read.
const { W3CTraceContextPropagator } = require("@opentelemetry/core");
const { ROOT_CONTEXT, defaultTextMapGetter, defaultTextMapSetter } = require("@opentelemetry/api");

const propagator = new W3CTraceContextPropagator();
for (const traceparent of process.argv.slice(2)) {
  const sent = {};
  const context = propagator.extract(ROOT_CONTEXT, { traceparent }, defaultTextMapGetter);
  propagator.inject(context, sent, defaultTextMapSetter);
  console.log(sent.traceparent ?? "nothing");
}
JS
cat > pass.py <<'PY'
"""Print what becomes of each header on its way through a service, "nothing" if it is not read."""

import sys

from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

propagator = TraceContextTextMapPropagator()
for traceparent in sys.argv[1:]:
    sent: dict[str, str] = {}
    propagator.inject(sent, propagator.extract({"traceparent": traceparent}))
    print(sent.get("traceparent", "nothing"))
PY

reads() { # whether the other service reads the header: COMMAND HEADER
    [ "$($1 "$2")" = nothing ] && echo "does not read" || echo reads
}

seen=$(for flags in 01 03 11 ff; do
    header=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-$flags
    by_node=$(node pass.js "$header")
    by_python=$(python/bin/python pass.py "$header")
    echo "$flags: node sends ${by_node##*-}, which python $(reads "python/bin/python pass.py" "$by_node");" \
        "python sends ${by_python##*-}, which node $(reads "node pass.js" "$by_python")"
done)
echo "$seen"
diff <(echo "$expected") <(echo "$seen")
