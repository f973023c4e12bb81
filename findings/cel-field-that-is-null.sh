#!/usr/bin/env bash
# CEL: whether a map has a key whose value is null depends on the language of the program.
#
# Seen with @bufbuild/cel 0.6.1 (npm) and cel-python 0.5.0 (PyPI).
# https://github.com/google/cel-spec/blob/master/doc/langdef.md#field-selection : has(e.f) on a map tells whether "f" is
# a key. The JavaScript package says no for a key with null, and so does `in`, while reading the key works. A rule that
# tells "unknown" from "known to be nothing" (JSON's absent and null) decides one thing in Python, another in Node.js.
# Guess before the run: both would say yes.
# Output seen:
#   true false has({"queue": null}.queue)
#   true false "queue" in {"queue": null}
#   true true has({"queue": ""}.queue)
#   true true {"queue": null}.queue == null
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
has({"queue": null}.queue)
"queue" in {"queue": null}
has({"queue": ""}.queue)
{"queue": null}.queue == null
TEXT
cat > run.py <<'PY'
import celpy

env = celpy.Environment()
for line in open("expressions").read().splitlines():
    print(str(env.program(env.compile(line)).evaluate({})).lower())
PY
cat > run.mjs <<'JS'
import { readFileSync } from "node:fs";
import { run } from "@bufbuild/cel";
for (const line of readFileSync("expressions", "utf8").trim().split("\n")) console.log(String(run(line, {})));
JS
seen=$(paste -d' ' <(python/bin/python run.py) <(node run.mjs) expressions)
echo "$seen"
diff <(echo "$expected") <(echo "$seen")
