#!/usr/bin/env bash
# @bufbuild/cel: in a named time zone it is tomorrow for the first hour of each day.
#
# Seen with @bufbuild/cel 0.6.1 (npm, Node.js 20), beside cel-python 0.5.0 (PyPI), which is right.
# https://github.com/google/cel-spec/blob/master/doc/langdef.md#list-of-standard-definitions : getDayOfWeek(zone),
# getDate(zone) and the like are of the local time in the zone. From 00:00 to 00:59 local time the package returns the
# next day (the hour itself is right); with an offset instead of a name it is right. A rule such as "on Sundays to the
# standby" begins and ends an hour early.
# Guess before the run: implementations differ in offsets with minutes. They agree there.
# Output seen:
#   0 0 timestamp("2026-11-29T22:59:59Z").getDayOfWeek("Europe/Berlin")
#   1 2 timestamp("2026-11-29T23:00:00Z").getDayOfWeek("Europe/Berlin")
#   1 2 timestamp("2026-11-29T23:59:59Z").getDayOfWeek("Europe/Berlin")
#   1 1 timestamp("2026-11-30T00:00:00Z").getDayOfWeek("Europe/Berlin")
#   1 1 timestamp("2026-11-29T23:30:00Z").getDayOfWeek("+01:00")
#   30 1 timestamp("2026-11-29T23:30:00Z").getDate("Europe/Berlin")
#   0 0 timestamp("2026-11-29T23:30:00Z").getHours("Europe/Berlin")
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
timestamp("2026-11-29T22:59:59Z").getDayOfWeek("Europe/Berlin")
timestamp("2026-11-29T23:00:00Z").getDayOfWeek("Europe/Berlin")
timestamp("2026-11-29T23:59:59Z").getDayOfWeek("Europe/Berlin")
timestamp("2026-11-30T00:00:00Z").getDayOfWeek("Europe/Berlin")
timestamp("2026-11-29T23:30:00Z").getDayOfWeek("+01:00")
timestamp("2026-11-29T23:30:00Z").getDate("Europe/Berlin")
timestamp("2026-11-29T23:30:00Z").getHours("Europe/Berlin")
TEXT
cat > run.py <<'PY'
import celpy

env = celpy.Environment()
for line in open("expressions").read().splitlines():
    print(env.program(env.compile(line)).evaluate({}))
PY
cat > run.mjs <<'JS'
import { readFileSync } from "node:fs";
import { run } from "@bufbuild/cel";
for (const line of readFileSync("expressions", "utf8").trim().split("\n")) console.log(String(run(line, {})));
JS
seen=$(paste -d' ' <(python/bin/python run.py) <(node run.mjs) expressions)
echo "$seen"
diff <(echo "$expected") <(echo "$seen")
