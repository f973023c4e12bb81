#!/usr/bin/env bash
# A list of events that is given to TwiML in Python becomes the text of a Python list.
#
# Seen with twilio 9.13.0 from PyPI and twilio 6.3.1 from npm.
# https://www.twilio.com/docs/voice/twiml/number#attributes : statusCallbackEvent takes several events, separated by a
# space, as do <Conference> and the input of <Gather>. Both libraries describe these parameters as lists.
# Guess before the run: Node joins the list with commas, as JavaScript does, and Python with spaces. It is the other way
# round: Node joins with spaces, and Python writes brackets and quotes into the attribute, without an error. Twilio then
# knows none of the events; no callback of the call's progress is sent, and <Gather> listens to what it usually does.
# Output seen:
#   python: Number statusCallbackEvent="['initiated', 'answered']"
#   python: Conference statusCallbackEvent="['start', 'end']"
#   python: Gather input="['dtmf', 'speech']"
#   node: Number statusCallbackEvent="initiated answered"
#   node: Conference statusCallbackEvent="start end"
#   node: Gather input="dtmf speech"
set -euo pipefail
expected=$(sed -n '/^# Output seen:/,/^set /s/^#   //p' "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check twilio==9.13.0
npm init --yes > /dev/null
npm install --silent --no-audit --no-fund twilio@6.3.1

cat > twiml.py <<'PY'
"""Print a document with three lists."""

from twilio.twiml.voice_response import VoiceResponse

response = VoiceResponse()
dial = response.dial()
dial.number("+15550001111", status_callback_event=["initiated", "answered"])
dial.conference("support", status_callback_event=["start", "end"])
response.gather(input=["dtmf", "speech"])
print(response)
PY
cat > twiml.js <<'JS'
// Print the same document.
const { VoiceResponse } = require("twilio").twiml;

const response = new VoiceResponse();
const dial = response.dial();
dial.number({ statusCallbackEvent: ["initiated", "answered"] }, "+15550001111");
dial.conference({ statusCallbackEvent: ["start", "end"] }, "support");
response.gather({ input: ["dtmf", "speech"] });
console.log(response.toString());
JS

show() { # the elements with a list: NAME COMMAND...
    local name=$1
    shift
    "$@" | grep -oE '<(Number|Conference|Gather) [^>]*"' | sed "s/^</$name: /"
}

seen=$(show python python/bin/python twiml.py; show node node twiml.js)
echo "$seen"
diff <(echo "$expected") <(echo "$seen")
