"""The recipes of docs/entries.md for sealed entries and commands, as they stand there, in Python and Node.js."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from base64 import b64encode

import orjson
import pytest

from router.core.aes_gcm import make_sealer
from router.core.entries import Draft, sealed_fields
from router.core.routing.commands import RequestHandoff, Say, read_command
from tests.test_docs import example

pytestmark = [pytest.mark.processes]
OLD, NEW = bytes(range(32)), bytes(range(32, 64))
DATA = {
    "address": "+15551230001",
    "profile_name": None,
    "participant": {"id": "p", "name": "Zoë"},
    "communication": {"text": "¿dónde está? 👋", "media": [{"url": "u"}], "provider": {"City": "x"}, "location": None},
}
PROGRAMS = {
    "python": "import json, sys\nfrom sealed import opened, sealed\n"
    "for line in sys.stdin:\n    one = json.loads(line)\n"
    "    print(json.dumps(sealed(one) if one['type'].startswith('command.') else opened(one)))\n",
    "node": 'import { createInterface } from "node:readline";\nimport { opened, sealed } from "./sealed.mjs";\n'
    "for await (const line of createInterface({ input: process.stdin })) {\n  const one = JSON.parse(line);\n"
    '  console.log(JSON.stringify(one.type.startsWith("command.") ? sealed(one) : opened(one)));\n}\n',
}


def run(language, folder, documents, keys=(NEW, OLD)):
    """Give a program around the recipe some documents; returns its results, and its errors if it ended with one."""
    if shutil.which("node") is None and language == "node":
        pytest.skip("node is not installed")
    suffix = {"python": "py", "node": "mjs"}[language]
    (folder / f"sealed.{suffix}").write_text(example(f"sealed.{suffix}", "docs/entries.md"), encoding="utf-8")
    (folder / f"main.{suffix}").write_text(PROGRAMS[language], encoding="utf-8")
    done = subprocess.run(
        [sys.executable if language == "python" else "node", folder / f"main.{suffix}"],
        input="".join(f"{json.dumps(one)}\n" for one in documents),
        env={**os.environ, "ROUTER_SEAL_KEYS": ",".join(b64encode(key).decode() for key in keys)},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def write_entry(key):
    document = {"id": "1", "type": "communication.received", "data": DATA}
    sealer = make_sealer([key], lambda: os.urandom(12))
    return orjson.loads(sealed_fields(Draft("1", document["type"], "ai-agent", "p", document), sealer)["event"])


@pytest.mark.parametrize("language", PROGRAMS)
def test_an_entry_is_opened(language, tmp_path):
    """With the key that sealed it, old or new; an entry without the attribute stays as it is."""
    entries = [write_entry(NEW), write_entry(OLD)]
    plain = {"id": "2", "type": "communication.received", "data": DATA}
    assert "dónde" not in json.dumps(entries, ensure_ascii=False)
    shown, errors = run(language, tmp_path, [*entries, plain])
    assert errors == ""
    assert [one["data"] for one in shown] == [DATA, DATA, DATA]


@pytest.mark.parametrize("language", PROGRAMS)
def test_a_missing_key_is_an_error(language, tmp_path):
    """A consumer does not take placeholders for what was said."""
    shown, errors = run(language, tmp_path, [write_entry(OLD)], keys=[NEW])
    assert shown == []
    assert "Error" in errors


@pytest.mark.parametrize("language", PROGRAMS)
def test_a_command_is_sealed(language, tmp_path):
    """The worker reads it as if it were in the clear, and no private value can be read in it."""
    say = {"conversation": "c", "agent": "dana", "epoch": 1, "text": "my secret"}
    ask = {"conversation": "c", "reason": "my secret", "context": {"secret": [1]}, "note": "ignored"}
    commands = [
        {"specversion": "1.0", "id": "1", "source": "/x", "type": f"command.{kind}", "data": data}
        for kind, data in (("conversation.say", say), ("handoff.request", ask))
    ]
    shown, errors = run(language, tmp_path, commands)
    assert errors == ""
    assert "secret" not in json.dumps(shown)
    sealer = make_sealer([OLD, NEW], bytes)
    read = [read_command({b"id": b"1", b"command": json.dumps(one).encode()}, sealer) for one in shown]
    assert [one.data for one in read] == [Say(**say), RequestHandoff(**ask)]
    assert [one.raw for one in read] == [say, ask]
