"""The locks: in step with pyproject.toml, everything pinned with hashes, no address in them; and what `audit` says."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests import audit
from tests.audit import LOCKS, ROOT, pins

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
#: What each lock is made of.
MADE_OF = {
    "requirements.lock": PROJECT["dependencies"] + EXTRAS["embedded"],
    "requirements-dev.lock": PROJECT["dependencies"] + EXTRAS["embedded"] + EXTRAS["dev"],
    "requirements-fuzz.lock": EXTRAS["fuzz"],
    "requirements-audit.lock": EXTRAS["audit"],
}
HASH = re.compile(r" --hash=sha256:[0-9a-f]{64}")


def blocks(name):
    """Every requirement of a lock with the lines that belong to it."""
    text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", "")
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def test_every_extra_has_its_lock():
    """A new extra, or a new lock, must say here what belongs to it."""
    assert set(MADE_OF) == set(LOCKS) == {path.name for path in ROOT.glob("requirements*.lock")}
    assert set(EXTRAS) == {"embedded", "dev", "fuzz", "audit"}


@pytest.mark.parametrize("name", LOCKS)
def test_lock_is_in_step(name):
    """What pyproject.toml asks for is pinned, in a version that it allows."""
    pinned = {canonicalize_name(package): version for package, version in pins(ROOT / name).items()}
    wanted = [Requirement(text) for text in MADE_OF[name]]
    assert wanted
    wrong = [
        f"{one}: {pinned.get(canonicalize_name(one.name), 'not pinned')}"
        for one in wanted
        if not one.specifier.contains(pinned.get(canonicalize_name(one.name), "0"), prereleases=True)
    ]
    assert not wrong


@pytest.mark.parametrize("name", LOCKS)
def test_everything_is_pinned_with_hashes(name):
    """One version each, and the hashes of its files: nothing else can be installed in its place."""
    lines = blocks(name)
    assert len(lines) == len(pins(ROOT / name))
    wrong = [line[:60] for line in lines if "==" not in line.split("--hash")[0] or not HASH.search(line)]
    assert not wrong


#: A line of a lock: a pin, a hash of it, a comment, or nothing.
_USUAL = re.compile(r"[\w.-]+==[\w.+!-]+( ;.*)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?|# .*|")


@pytest.mark.parametrize("name", LOCKS)
def test_no_address(name):
    """A lock says what is installed, not from where: pins, hashes and comments, and no other option."""
    text = (ROOT / name).read_text(encoding="utf-8")
    assert "://" not in text
    assert [line for line in text.splitlines() if not _USUAL.fullmatch(line)] == []


def test_what_is_tested_is_what_runs():
    """What both locks pin they pin in the same version."""
    runtime, development = pins(ROOT / "requirements.lock"), pins(ROOT / "requirements-dev.lock")
    assert {name: version for name, version in development.items() if name in runtime} == runtime


@pytest.fixture
def lock(tmp_path):
    """A lock of two packages."""
    path = tmp_path / "some.lock"
    path.write_text("alpha==1.0 \\\n    --hash=sha256:00\nbeta==2.1 ; sys_platform == 'linux'\n")
    return path


WEAK = {"name": "alpha", "version": "1.0", "vulns": [{"id": "X-1", "fix_versions": ["1.1"]}]}
UNKNOWN = {"name": "alpha", "skip_reason": "Dependency not found"}
WELL = {"name": "beta", "version": "2.1", "vulns": []}


@pytest.mark.parametrize(
    ("answer", "status", "word"),
    [
        ([WELL], 0, "no vulnerabilities"),
        ([WEAK, WELL], 1, "alpha 1.0: X-1, mended in 1.1"),
        (None, 2, "alpha 1.0, beta 2.1"),
        ([WELL, UNKNOWN], 2, "could not be asked about all"),
    ],
    ids=["nothing known", "vulnerable", "not asked", "not known"],
)
def test_audit(lock, answer, status, word):
    """The status tells whether something is known, or nobody could be asked: then versions and age are printed."""
    said = []
    assert audit.main(locks=(lock,), ask=lambda _: answer, say=said.append) == status
    assert word in "\n".join(said)
    assert ("days old" in "\n".join(said)) == (status == 2)


def test_audit_that_found_something_is_not_hidden_by_a_failure(lock):
    """Vulnerable is the stronger word."""
    answers = [[WEAK], None]
    assert audit.main(locks=(lock, lock), ask=lambda _: answers.pop(0), say=lambda _: None) == 1


def test_audit_without_its_service(lock, monkeypatch):
    """What is no report of pip-audit is no answer, whatever its exit status."""
    monkeypatch.setattr(audit.sys, "executable", "/bin/false")
    assert audit.ask(lock) is None
    monkeypatch.setattr(audit.sys, "executable", str(lock))  # cannot be started at all
    assert audit.ask(lock) is None
