#!/usr/bin/env bash
# The JavaScript SDK of CloudEvents changes the time of an event that it only passes on.
#
# Seen with cloudevents 10.0.0 (npm). The attribute is an RFC 3339 timestamp, which may have any precision and offset:
# https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md#time
# The SDK reads it into a JavaScript Date: three digits of the fraction are left, and the offset becomes Z. Two events
# of one millisecond can no longer be put in order, and a signature or a digest over the event no longer matches.
# Guess before the run: the microseconds would be lost. That the offset goes too was a surprise.
# Output seen:
#   2026-11-20T11:00:05.123456Z -> 2026-11-20T11:00:05.123Z
#   2026-11-20T11:00:05.123789Z -> 2026-11-20T11:00:05.123Z
#   2026-11-20T13:00:05+02:00 -> 2026-11-20T11:00:05.000Z
set -euo pipefail
expected=$(sed -n '/^# Output seen:/,/^set /s/^#   //p' "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init --yes > /dev/null
npm install --silent --no-audit --no-fund cloudevents@10.0.0

cat > pass.js <<'JS'
const { HTTP } = require("cloudevents");
for (const time of process.argv.slice(2)) {
  const body = JSON.stringify({ specversion: "1.0", id: "1", source: "/s", type: "t", time });
  const event = HTTP.toEvent({ headers: { "content-type": "application/cloudevents+json" }, body });
  console.log(`${time} -> ${JSON.parse(HTTP.structured(event).body).time}`);
}
JS
seen=$(node pass.js 2026-11-20T11:00:05.123456Z 2026-11-20T11:00:05.123789Z 2026-11-20T13:00:05+02:00)
echo "$seen"
diff <(echo "$expected") <(echo "$seen")
