#!/usr/bin/env bash
# Two services that keep the same share of traces by their ids keep different traces.
#
# Seen with @opentelemetry/sdk-trace-base 2.12.1 from npm, opentelemetry-sdk 1.45.2 from PyPI.
# https://opentelemetry.io/docs/specs/otel/trace/sdk/#traceidratiobased : the decision follows from the trace id, so that
# samplers with the same share make the same one. `traceidratio` without `parentbased_` is one of the values of
# OTEL_TRACES_SAMPLER, and the only one that decides again in each service.
# Guess before the run: both compare a part of the trace id with the share, not necessarily the same part, so that they
# agree about some ids only. They do: Python takes the lower 64 bits, Node combines all four words by XOR. With a share of
# a half they disagree about half of the traces, and with a tenth Python keeps hardly any that Node keeps: such a trace is
# half a trace, whichever service began it.
# Output seen:
#   share 0.5: node keeps 50 %, python 50 %, both 25 %, one of them alone 50 %
#   share 0.1: node keeps 10 %, python 11 %, both 1 %, one of them alone 18 %
#   share 1: node keeps 100 %, python 100 %, both 100 %, one of them alone 0 %
set -euo pipefail
expected=$(sed -n '/^# Output seen:/,/^set /s/^#   //p' "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check opentelemetry-sdk==1.45.2
npm init --yes > /dev/null
npm install --silent --no-audit --no-fund @opentelemetry/sdk-trace-base@2.12.1 @opentelemetry/api@1.9.1

python3 - > ids <<'PY'
"""Print ten thousand trace ids, the same in each run."""

from hashlib import sha256

for number in range(10_000):
    print(sha256(str(number).encode()).hexdigest()[:32])
PY
cat > sample.js <<'JS'
// Print for each id of the file whether it is kept: SHARE FILE
const { readFileSync } = require("node:fs");
const { TraceIdRatioBasedSampler, SamplingDecision } = require("@opentelemetry/sdk-trace-base");
const { ROOT_CONTEXT } = require("@opentelemetry/api");

const sampler = new TraceIdRatioBasedSampler(Number(process.argv[2]));
for (const id of readFileSync(process.argv[3], "utf8").trim().split("\n")) {
  console.log(sampler.shouldSample(ROOT_CONTEXT, id).decision === SamplingDecision.RECORD_AND_SAMPLED ? 1 : 0);
}
JS
cat > sample.py <<'PY'
"""Print for each id of the file whether it is kept: SHARE FILE."""

import sys
from pathlib import Path

from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

sampler = TraceIdRatioBased(float(sys.argv[1]))
for trace_id in Path(sys.argv[2]).read_text().split():
    print(int(sampler.should_sample(None, int(trace_id, 16), "webhook").decision.is_sampled()))
PY

seen=$(for share in 0.5 0.1 1; do
    paste <(node sample.js $share ids) <(python/bin/python sample.py $share ids) | awk -v share=$share '
        { node += $1; python += $2; both += $1 * $2 }
        END { printf "share %s: node keeps %.0f %%, python %.0f %%, both %.0f %%, one of them alone %.0f %%\n", share,
              node * 100 / NR, python * 100 / NR, both * 100 / NR, (node + python - 2 * both) * 100 / NR }'
done)
echo "$seen"
diff <(echo "$expected") <(echo "$seen")
