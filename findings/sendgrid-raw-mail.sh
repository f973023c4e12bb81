#!/usr/bin/env bash
# SendGrid's libraries for inbound mail in raw mode: one takes the text for attachments, the other reads no mail at all.
#
# Seen with sendgrid 6.12.5, Werkzeug 3.1.9, PyYAML 6.0.4 and six 1.17.0 from PyPI, @sendgrid/inbound-mail-parser 8.0.0
# (mailparser 2.8.1) from npm, Node.js 20.
# https://www.twilio.com/docs/sendgrid/for-developers/parsing-email/setting-up-the-inbound-parse-webhook#raw-parameters :
# with "POST the raw, full MIME message" the form has the whole message as `email`. The one below has a text in two
# forms, a CSV file in quoted-printable and a file of three bytes in base64.
# Guess before the run: both find the two files, with contents in base64 as both describe them. In Python the mail's own
# text counts as two files with invented names, and contents stay in the encoding that the sender's program chose, which is
# not said; PyYAML and six must be installed by hand. In Node the parser raises a TypeError, whatever the mail: the parser that it
# requires sets a property that streams of Node 18 and later only have for reading.
# Output seen:
#   python as installed: ModuleNotFoundError: No module named 'yaml'
#   python: part-001.txt text/plain 'Here is the list.'
#   python: part-002.html text/html '<p>Here is the list.</p>'
#   python: list.csv text/csv 'name,sum\na long name that ends with a sign=3D,5'
#   python: data.bin application/octet-stream 'AAEC'
#   node: TypeError: Cannot set property errored of #<Readable> which has only a getter
set -euo pipefail
expected=$(sed -n '/^# Output seen:/,/^set /s/^#   //p' "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check sendgrid==6.12.5 Werkzeug==3.1.9
npm init --yes > /dev/null
npm install --silent --no-audit --no-fund @sendgrid/inbound-mail-parser@8.0.0 mailparser@2.8.1

cat > mail <<'MAIL'
From: Ana <ana@example.com>
To: support@parse.example.com
Subject: The list
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=outer

--outer
Content-Type: multipart/alternative; boundary=inner

--inner
Content-Type: text/plain; charset=utf-8

Here is the list.
--inner
Content-Type: text/html; charset=utf-8

<p>Here is the list.</p>
--inner--
--outer
Content-Type: text/csv; charset=utf-8
Content-Disposition: attachment; filename="list.csv"
Content-Transfer-Encoding: quoted-printable

name,sum
a long name that ends with a sign=3D,5
--outer
Content-Type: application/octet-stream
Content-Disposition: attachment; filename="data.bin"
Content-Transfer-Encoding: base64

AAEC
--outer--
MAIL
cat > parse.py <<'PY'
"""Print the attachments that the library finds in the form of a webhook."""

from pathlib import Path
from types import SimpleNamespace

from sendgrid.helpers.inbound.parse import Parse
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

request = Request(EnvironBuilder(method="POST", data={"email": Path("mail").read_text()}).get_environ())
for one in Parse(SimpleNamespace(keys=["email"]), request).attachments():
    print("python:", one["file_name"], one["type"], repr(one["contents"]))
PY
cat > parse.js <<'JS'
// Print the attachments that the library finds in the body of the same webhook.
const { readFileSync } = require("node:fs");
const Parse = require("@sendgrid/inbound-mail-parser");

try {
  const parse = new Parse({ keys: ["email"] }, { body: { email: readFileSync("mail", "utf8") } });
  parse.attachments((found) => console.log(`node: ${found.length} attachments`));
} catch (error) {
  console.log(`node: ${error.name}: ${error.message}`);
}
JS

seen=$(
    echo "python as installed: $(python/bin/python parse.py 2>&1 | tail -1)"
    python/bin/pip install --quiet --disable-pip-version-check PyYAML==6.0.4 six==1.17.0
    python/bin/python parse.py
    node parse.js
)
echo "$seen"
diff <(echo "$expected") <(echo "$seen")
