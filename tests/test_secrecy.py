"""The check of all log lines of a test run: it finds private data, accepts masked data, and fails the run."""

import os
import subprocess
import sys

import pytest

from tests.support.secrecy import PRIVATE, Secrecy, find_private
from tests.support.source import ROOT

pytestmark = pytest.mark.promise(5)

SHOWN = {
    "a phone number": ['{"reason":"to +15551230001"}', "15:00:00.000 web webhook reason=whatsapp:+14155550101"],
    "a mailbox": ['{"reason":"ana.lopez@example.com"}', "to=<help@example.com>"],
    "a secret": ['{"settings":{"TWILIO_AUTH_TOKEN":"0123456789abcdef0123456789abcdef"}}', "made-up-api-secret"],
    "a password in a URL": ['{"REDIS_URL":"redis://user:hunter2@h:6379/0"}', "redis://:hunter2@h"],
    "a customer's words": ['{"text":"the quick brown fox, confidentially"}'],
}
HIDDEN = [
    '{"address":"+155***01","recipient":"a***@example.com"}',
    '{"REDIS_URL":"redis://***@127.0.0.1:6379/0","PUBLIC_BASE_URL":"https://hooks.example.com"}',
    '{"REDIS_URL":"redis://user:***@h"}',
    '{"key":"AC00000000000000000000000000000001:messaging:SM00000000000000000000015551230001"}',
    '{"participant":"conv_participant_01m7w9zwnqf3vbpv664xfnytnd","ms":15.55,"ROUTER_MARKER_TTL":"15552000"}',
]


@pytest.mark.parametrize(("what", "line"), [(what, line) for what, lines in SHOWN.items() for line in lines])
def test_private_data_is_found(what, line):
    """Each kind is found by its name, in JSON and in text lines."""
    assert what in find_private(line)


def test_every_kind_has_an_example():
    """A new kind needs an example here."""
    assert set(SHOWN) == set(PRIVATE)


@pytest.mark.parametrize("line", HIDDEN)
def test_masked_data_is_accepted(line):
    """Lines may hold masked addresses, ids and settings."""
    assert find_private(line) == []


def test_lines_are_found_among_other_output(tmp_path):
    """Only log lines count, in files too, and a finding in a file names the directory of its test."""
    watch = Secrecy()
    watch.check_text("sent from +15551230001\n", "here")
    assert watch.findings == {}
    log = tmp_path / "test_of_somebody0" / "1.log"
    log.parent.mkdir()
    log.write_text('started\n{"time":"2026","reason":"+15551230001"}\n12:00:00.000 web  webhook to=ana@example.com\n')
    (tmp_path / "spool.sqlite").write_text('{"time":"2026","reason":"+15551230001"}\n')
    watch.check_files(tmp_path)
    assert {what for what, _ in watch.findings} == {"a phone number", "a mailbox"}
    assert {where for _, where in watch.findings} == {"test_of_somebody0/1.log"}
    log.unlink()  # the check of this run would find it too


CONFTEST = """
from tests.support.secrecy import Secrecy

def pytest_configure(config):
    secrecy = Secrecy()
    secrecy.install()
    config.pluginmanager.register(secrecy, "secrecy")
"""
WRITING = """
import subprocess, sys
import pytest
from router.logs import log

def test_discreet():
    log("webhook", reason="+155***01")

@pytest.mark.indiscreet
def test_on_purpose_here():
    {here}

@pytest.mark.indiscreet
def test_on_purpose_elsewhere():
    {elsewhere}
"""
MISTAKES = """
def test_mistake_here():
    {here}

def test_mistake_elsewhere():
    {elsewhere}
"""
LINES = {
    "here": 'log("webhook", reason="+15551230001")',
    "elsewhere": "subprocess.run([sys.executable, '-c', "
    '\'from router.logs import log; log("webhook", reason="+1555123" + "0001")\'], capture_output=True, check=True)',
}


@pytest.mark.parametrize(
    ("tests", "processes", "passed", "status"),
    [(WRITING, "0", 3, 0), (WRITING + MISTAKES, "0", 5, 1), (WRITING + MISTAKES, "2", 5, 1)],
    ids=["on purpose", "by mistake", "by mistake, in parallel processes"],
)
def test_a_run_with_private_data_in_its_lines_fails(tmp_path, tests, processes, passed, status):
    """All tests pass but the run fails, naming test and line, whether this process or another one wrote the line.

    Tests with the marker `indiscreet` are exempt.
    """
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_writing.py").write_text(tests.format(**LINES))
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pytest", "-q", "-n", processes, "-p", "no:cacheprovider", str(tmp_path)]
    with (tmp_path / "output").open("w+") as output:
        ended = subprocess.run(command, cwd=tmp_path, env=environment, stdout=output, check=False)
        output.seek(0)
        text = output.read()
    (tmp_path / "output").unlink()  # it repeats the lines that are looked for
    assert f"{passed} passed" in text
    assert ended.returncode == status, text
    shown = [line for line in text.splitlines() if "SHOWS a phone number" in line]
    assert len(shown) == (2 if status else 0), text
    for name in ("test_mistake_here", "test_mistake_elsewhere"):
        assert any(name in line for line in shown) is bool(status), text
    assert not any("test_on_purpose" in line for line in shown), text
