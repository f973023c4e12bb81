#!/usr/bin/env bash
# One member of a tracestate whose key begins with a digit makes a service in Python drop all members.
#
# Seen with opentelemetry-api 1.45.2 from PyPI, @opentelemetry/core 2.12.1 and @opentelemetry/api 1.9.1 from npm.
# https://www.w3.org/TR/trace-context-2/#key : a key begins with a lower-case letter or a digit; the first version of the
# recommendation allowed a digit only in the tenant before an @. A member that a service does not know is to be passed on.
# Guess before the run: both know the newer rule, or both drop the member. They differ: Node drops this member, Python
# drops what the others said as well, so that the vendor that began the trace finds nothing of its own.
# Output seen:
#   vendor=1,other=2: python sends vendor=1,other=2; node sends vendor=1,other=2
#   vendor=1,4tenant@other=2: python sends vendor=1,4tenant@other=2; node sends vendor=1,4tenant@other=2
#   vendor=1,4other=2: python sends nothing; node sends vendor=1
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
// Print what becomes of a tracestate on its way through a service.
const { W3CTraceContextPropagator } = require("@opentelemetry/core");
const { ROOT_CONTEXT, defaultTextMapGetter, defaultTextMapSetter } = require("@opentelemetry/api");

const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const propagator = new W3CTraceContextPropagator();
const sent = {};
const got = { traceparent, tracestate: process.argv[2] };
propagator.inject(propagator.extract(ROOT_CONTEXT, got, defaultTextMapGetter), sent, defaultTextMapSetter);
console.log(sent.tracestate || "nothing");
JS
cat > pass.py <<'PY'
"""Print what becomes of a tracestate on its way through a service."""

import sys

from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
propagator = TraceContextTextMapPropagator()
sent: dict[str, str] = {}
propagator.inject(sent, propagator.extract({"traceparent": traceparent, "tracestate": sys.argv[1]}))
print(sent.get("tracestate") or "nothing")
PY

seen=$(for state in vendor=1,other=2 vendor=1,4tenant@other=2 vendor=1,4other=2; do
    echo "$state: python sends $(python/bin/python pass.py $state 2> /dev/null); node sends $(node pass.js $state)"
done)
echo "$seen"
diff <(echo "$expected") <(echo "$seen")
