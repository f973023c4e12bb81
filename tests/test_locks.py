"""The locks match pyproject.toml, pin everything with hashes and contain no address; and the output of `audit`."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests import audit
from tests.audit import LOCKS, ROOT, pins

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
#: The requirements of each lock.
MADE_OF = {
    "requirements.lock": PROJECT["dependencies"] + EXTRAS["embedded"],
    "requirements-dev.lock": PROJECT["dependencies"] + EXTRAS["embedded"] + EXTRAS["dev"],
    "requirements-fuzz.lock": EXTRAS["fuzz"],
    "requirements-api.lock": EXTRAS["api"],
    "requirements-browser.lock": EXTRAS["browser"],
    "requirements-audit.lock": EXTRAS["audit"],
}
HASH = re.compile(r" --hash=sha256:[0-9a-f]{64}")


def blocks(name):
    """Return the requirements of a lock, one string each."""
    text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", "")
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def test_every_extra_has_its_lock():
    """Every extra and every lock is listed in MADE_OF or LOCKS."""
    assert set(MADE_OF) == set(LOCKS) == {path.name for path in ROOT.glob("requirements*.lock")}
    assert set(EXTRAS) == {"embedded", "dev", "fuzz", "api", "browser", "audit"}


@pytest.mark.parametrize("name", LOCKS)
def test_lock_satisfies_pyproject(name):
    """Every requirement of pyproject.toml is pinned to a version that it allows."""
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
    """Every package has one version and hashes of its files."""
    lines = blocks(name)
    assert len(lines) == len(pins(ROOT / name))
    wrong = [line[:60] for line in lines if "==" not in line.split("--hash")[0] or not HASH.search(line)]
    assert not wrong


#: A line of a lock: a pin, a hash of it, a comment, or nothing.
_USUAL = re.compile(r"[\w.-]+==[\w.+!-]+( ;.*)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?|# .*|")


@pytest.mark.parametrize("name", LOCKS)
def test_locks_contain_no_address(name):
    """A lock consists of pins, hashes and comments, without any index or URL."""
    text = (ROOT / name).read_text(encoding="utf-8")
    assert "://" not in text
    assert [line for line in text.splitlines() if not _USUAL.fullmatch(line)] == []


def test_the_tested_versions_are_those_that_run():
    """Packages in both locks have the same version."""
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
        ([WEAK, WELL], 1, "alpha 1.0: X-1, fixed in 1.1"),
        (None, 2, "alpha 1.0, beta 2.1"),
        ([WELL, UNKNOWN], 2, "could not be asked about all"),
    ],
    ids=["nothing known", "vulnerable", "not asked", "not known"],
)
def test_audit_reports_vulnerabilities_or_an_unreachable_service(lock, answer, status, word):
    """Status 0 without findings, 1 with vulnerabilities, 2 if the service could not be asked."""
    said = []
    assert audit.main(locks=(lock,), ask=lambda _: answer, say=said.append) == status
    assert word in "\n".join(said)
    assert ("days old" in "\n".join(said)) == (status == 2)


def test_a_vulnerability_outweighs_a_failed_lookup(lock):
    """The status is 1 although another lock could not be looked up."""
    answers = [[WEAK], None]
    assert audit.main(locks=(lock, lock), ask=lambda _: answers.pop(0), say=lambda _: None) == 1


def test_audit_without_a_report(lock, monkeypatch):
    """Output that is not a pip-audit report counts as a failed lookup, whatever the exit status."""
    monkeypatch.setattr(audit.sys, "executable", "/bin/false")
    assert audit.ask(lock) is None
    monkeypatch.setattr(audit.sys, "executable", str(lock))  # cannot be started at all
    assert audit.ask(lock) is None
