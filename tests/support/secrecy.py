"""Checks every log line of a test run, and fails the run at its end if one shows private data.

Lines are checked where they are made (in this process), in the output that pytest captured, in the output that a test
read from a process, and in the files that processes wrote below pytest's directory. Private data is recognizable: the
numbers and mailboxes of the samples, the made-up secrets, and the words that customers write in tests. A test that
writes such a line on purpose has the marker `indiscreet`.
"""

from __future__ import annotations

import asyncio
import functools
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from router import logs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

#: Private data by its name in the report. A number must stand alone, because ids may contain such digits.
PRIVATE = {
    "a phone number": re.compile(r"(?<![0-9A-Za-z_.-])\+?1(?:555\d{7}|415555\d{4}|8005551212)(?![0-9A-Za-z_])"),
    "a mailbox": re.compile(r"(?<![*\w.])[\w.+-]+@[\w-]+(?:\.[\w-]+)*\.(?:com|example|io|invalid)\b(?!/)"),
    "a secret": re.compile(r"made-up-(?!\d)|0123456789abcdef0123456789abcdef|fedcba9876543210fedcba98|PRIVATE KEY"),
    "a password in a URL": re.compile(r"://[^/\s:@\"]*:(?!\*)[^/\s@\"]+@"),
    "a customer's words": re.compile(r"confidentially|quick brown fox|Where is my order"),
}
_ANY = re.compile("|".join(f"(?:{pattern.pattern})" for pattern in PRIVATE.values()))
#: A log line of the project, in either form.
_LINE = re.compile(r'^(?:\{"time":"|\d\d:\d\d:\d\d\.\d{3} \S+ +).*$', re.MULTILINE)
#: Files of other programs, and files that store webhooks on purpose (the spool, a server's data).
_NOT_LOGS = (".sqlite", ".sqlite-wal", ".sqlite-shm", ".aof", ".rdb", ".env", ".pem", ".manifest", "valkey.log")
_MAX_FILE = 100 * 1_048_576


def find_private(line: str) -> list[str]:
    """Return the kinds of private data in a line."""
    return [name for name, pattern in PRIVATE.items() if pattern.search(line)] if _ANY.search(line) else []


class Secrecy:
    """The plugin; `findings` has the line by the kind of private data and the place."""

    def __init__(self) -> None:
        self.findings: dict[tuple[str, str], str] = {}
        self.seen = 0
        self._test = "before any test"
        self._is_watching = True
        self._undo: list[Callable[[], None]] = []

    def check(self, line: str, where: str | None = None) -> None:
        """Check one line."""
        if not self._is_watching:
            return
        self.seen += 1
        for what in find_private(line):
            self.findings.setdefault((what, where or self._test), line.rstrip()[:500])

    def check_text(self, text: str, where: str | None = None) -> None:
        """Check all log lines in an output."""
        for match in _LINE.finditer(text):
            self.check(match.group(), where)

    # --- sources of lines ----------------------------------------------------------------------------------------

    def pytest_configure(self, config: pytest.Config) -> None:
        config.addinivalue_line("markers", "indiscreet: writes on purpose what no log line may show")

    def install(self) -> None:
        """Check lines where they are made, and the output of processes that tests read."""
        for name in ("_as_json", "_as_text"):
            self._wrap(logs, name, self.check)
        self._wrap(subprocess.Popen, "communicate", self._check_output)
        original = asyncio.subprocess.Process.communicate

        async def communicate(process: Any, *arguments: Any) -> Any:
            came = await original(process, *arguments)
            self._check_output(came)
            return came

        asyncio.subprocess.Process.communicate = communicate
        self._undo.append(lambda: setattr(asyncio.subprocess.Process, "communicate", original))

    def _wrap(self, owner: Any, name: str, see: Callable[[Any], None]) -> None:
        original = getattr(owner, name)

        @functools.wraps(original)
        def wrapper(*arguments: Any, **named: Any) -> Any:
            came = original(*arguments, **named)
            see(came)
            return came

        setattr(owner, name, wrapper)
        self._undo.append(lambda: setattr(owner, name, original))

    def _check_output(self, came: tuple[Any, Any]) -> None:
        for part in came:
            self.check_text(part.decode("utf-8", "replace") if isinstance(part, bytes) else part or "")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._test = item.nodeid
        self._is_watching = item.get_closest_marker("indiscreet") is None
        try:
            return (yield)
        finally:
            self._is_watching = True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if "indiscreet" in report.keywords or hasattr(report, "node"):  # the latter: checked by the process that ran it
            return
        for _, text in report.sections:
            self.check_text(text, report.nodeid)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        while self._undo:
            self._undo.pop()()
        if not session.config.pluginmanager.hasplugin("dsession"):  # else each process checks its own files
            factory = getattr(session.config, "_tmp_path_factory", None)
            base = getattr(factory, "_basetemp", None)
            if base is not None:
                self.check_files(base)
        if (output := getattr(session.config, "workeroutput", None)) is not None:
            output["secrecy"] = (self.seen, [[*place, line] for place, line in self.findings.items()])
        if self.findings and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Add the findings of one of several processes that share the tests."""
        seen, findings = getattr(node, "workeroutput", {}).get("secrecy", (0, []))
        self.seen += seen
        for what, where, line in findings:
            self.findings.setdefault((what, where), line)

    def check_files(self, base: Path) -> None:
        """Check the files that processes wrote; the directory is named after its test."""
        for path in sorted(base.rglob("*")):
            if path.name.endswith(_NOT_LOGS) or path.is_symlink() or not path.is_file():
                continue
            if path.stat().st_size <= _MAX_FILE:
                self.check_text(path.read_bytes().decode("utf-8", "replace"), str(path.relative_to(base)))

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        terminalreporter.write_line(f"{self.seen} log lines checked, {len(self.findings)} with private data")
        for (what, where), line in self.findings.items():
            terminalreporter.write_line(f"SHOWS {what}: {where}\n    {line}", red=True)
