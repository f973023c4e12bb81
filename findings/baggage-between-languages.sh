#!/usr/bin/env bash
# OpenTelemetry's baggage between Python and JavaScript: blanks and plus signs change, properties become values.
#
# Seen with opentelemetry-api 1.45.2 (PyPI), @opentelemetry/core 2.12.1 and @opentelemetry/api 1.9.1 (npm).
# https://www.w3.org/TR/baggage/ : values are percent-encoded, a plus sign stands for itself, properties follow a ";".
# Python encodes and decodes as forms do: it writes a blank as "+", which JavaScript reads as a plus sign, and it reads a
# plus sign that another sender wrote as it is (a telephone number) as a blank, which it then strips. A property is read as
# a part of the value.
# Guess before the run: the blank would arrive as "+". That a plus sign vanishes, and the property stays, was not expected.
# Output seen:
#   Python sends: queue=refunds+and+returns
#   JavaScript reads it as: [queue=refunds+and+returns]
#   from=+15551230001 in Python: [from=15551230001], in JavaScript: [from=+15551230001]
#   queue=refunds;ttl=5 in Python: [queue=refunds;ttl=5], in JavaScript: [queue=refunds]
set -euo pipefail
expected=$(sed -n '/^# Output seen:/,/^set /s/^#   //p' "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check opentelemetry-api==1.45.2
npm init --yes > /dev/null
npm install --silent --no-audit --no-fund @opentelemetry/core@2.12.1 @opentelemetry/api@1.9.1

cat > send.py <<'PY'
from opentelemetry import baggage
from opentelemetry.baggage.propagation import W3CBaggagePropagator

headers = {}
W3CBaggagePropagator().inject(headers, baggage.set_baggage("queue", "refunds and returns"))
print(headers["baggage"])
PY
cat > read.py <<'PY'
import sys

from opentelemetry import baggage
from opentelemetry.baggage.propagation import W3CBaggagePropagator

found = baggage.get_all(W3CBaggagePropagator().extract({"baggage": sys.argv[1]}))
print(" ".join(f"[{name}={value}]" for name, value in found.items()))
PY
cat > read.js <<'JS'
const { W3CBaggagePropagator } = require("@opentelemetry/core");
const { ROOT_CONTEXT, defaultTextMapGetter, propagation } = require("@opentelemetry/api");
const context = new W3CBaggagePropagator().extract(ROOT_CONTEXT, { baggage: process.argv[2] }, defaultTextMapGetter);
const entries = propagation.getBaggage(context).getAllEntries();
console.log(entries.map(([name, entry]) => `[${name}=${entry.value}]`).join(" "));
JS

seen=$(
  sent=$(python/bin/python send.py)
  echo "Python sends: $sent"
  echo "JavaScript reads it as: $(node read.js "$sent")"
  for text in 'from=+15551230001' 'queue=refunds;ttl=5'; do
    echo "$text in Python: $(python/bin/python read.py "$text"), in JavaScript: $(node read.js "$text")"
  done
)
echo "$seen"
diff <(echo "$expected") <(echo "$seen")
