#!/usr/bin/env bash
# cel-python: string() of a timestamp drops the fraction of a second, so reading it back gives another moment.
#
# Seen with cel-python 0.5.0 (PyPI), beside @bufbuild/cel 0.6.1 (npm), which keeps it.
# https://github.com/google/cel-spec/blob/master/doc/langdef.md#string-conversions : string(timestamp) is RFC 3339.
# A rule that compares texts of times, or makes an id of one, takes events of the same second for one.
# Guess before the run: both would keep the milliseconds.
# Output seen:
#   2026-11-29T10:20:30Z 2026-11-29T10:20:30.456Z string(timestamp("2026-11-29T10:20:30.456Z"))
#   456 456 timestamp("2026-11-29T10:20:30.456Z").getMilliseconds()
#   false true timestamp(string(timestamp("2026-11-29T10:20:30.456Z"))) == timestamp("2026-11-29T10:20:30.456Z")
set -euo pipefail
expected=$(sed -n '/^# Output seen:/,/^set /s/^#   //p' "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check cel-python==0.5.0
npm init --yes > /dev/null
npm install --silent --no-audit --no-fund @bufbuild/cel@0.6.1

cat > expressions <<'TEXT'
string(timestamp("2026-11-29T10:20:30.456Z"))
timestamp("2026-11-29T10:20:30.456Z").getMilliseconds()
timestamp(string(timestamp("2026-11-29T10:20:30.456Z"))) == timestamp("2026-11-29T10:20:30.456Z")
TEXT
cat > run.py <<'PY'
import celpy

env = celpy.Environment()
for line in open("expressions").read().splitlines():
    print(str(env.program(env.compile(line)).evaluate({})).replace("False", "false"))
PY
cat > run.mjs <<'JS'
import { readFileSync } from "node:fs";
import { run } from "@bufbuild/cel";
for (const line of readFileSync("expressions", "utf8").trim().split("\n")) console.log(String(run(line, {})));
JS
seen=$(paste -d' ' <(python/bin/python run.py) <(node run.mjs) expressions)
echo "$seen"
diff <(echo "$expected") <(echo "$seen")
