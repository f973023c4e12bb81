"""`make fuzz [SECONDS=n] [ARGS='TARGET ...']`: runs the table of targets, guided by coverage, and prints a report.

Each target runs in its own process (libFuzzer by way of atheris, which instruments router and handlers as they are
imported). It starts from its seeds and from the corpus of earlier runs in .state/fuzz, and ends after the given number
of seconds. A failing input is kept there as a file; `python -m tests.fuzz TARGET --replay FILE` runs it again. The exit
status is 1 if a target failed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

CORPUS = Path(".state/fuzz")
#: Limits of one input: bytes, seconds and megabytes.
MAX_LENGTH, MAX_SECONDS, MAX_MEGABYTES = 16_384, 10, 2048
_DONE = re.compile(r"^#(\d+)\s+DONE\s+cov: (\d+) ft: (\d+) corp: (\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Report:
    """The result of one target."""

    name: str
    executions: int
    edges: int
    features: int
    inputs: int
    failure: str

    def __str__(self) -> str:
        end = self.failure or "nothing found"
        return f"{self.name:16}{self.executions:>10}{self.edges:>8}{self.features:>10}{self.inputs:>8}  {end}"


def fuzz(name: str, seconds: int) -> Report:
    """Run one target in its own process."""
    corpus = CORPUS / name
    corpus.mkdir(parents=True, exist_ok=True)
    limits = [f"-max_total_time={seconds}", f"-max_len={MAX_LENGTH}", f"-timeout={MAX_SECONDS}"]
    limits += [f"-rss_limit_mb={MAX_MEGABYTES}", f"-artifact_prefix={CORPUS}/{name}-"]
    command = [sys.executable, "-m", "tests.fuzz", name, "--one", "--", *limits, str(corpus)]
    ended = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    output = ended.stdout + ended.stderr
    found = _DONE.search(output)
    executions, edges, features, inputs = map(int, found.groups()) if found else (0, 0, 0, 0)
    failure = "" if found and ended.returncode == 0 else _failure(output)
    return Report(name, executions, edges, features, inputs, failure)


def _failure(output: str) -> str:
    """Return the error of a failure, and where its input is kept."""
    (CORPUS / "last-failure.log").write_text(output, encoding="utf-8")
    raised = [line for line in output.splitlines() if re.match(r"\w+(\.\w+)*(Error|Exception|Interrupt)\b", line)]
    kept = re.search(r"Test unit written to (\S+)", output)
    return f"FAILED: {(raised or ['see last-failure.log'])[-1]} ({kept.group(1) if kept else 'no input kept'})"


def run_one(name: str, arguments: list[str]) -> None:
    """Fuzz one target in this process; does not return."""
    import atheris

    with atheris.instrument_imports(include=["router", "handlers"]):
        from tests.fuzz.targets import TARGETS
    for seed in TARGETS[name].seeds:
        (CORPUS / name / sha256(seed).hexdigest()[:16]).write_bytes(seed)
    atheris.Setup(["fuzz", *arguments], TARGETS[name].check)
    atheris.Fuzz()


def _say(line: object) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def make_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="the targets to run (all)")
    parser.add_argument("--seconds", type=int, default=60, help="duration of each target (60)")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run one target on this input, without atheris")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    return parser


def main(arguments: list[str]) -> int:
    """Run the command; return its exit status."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    chosen = make_parser().parse_args(arguments[:end])
    if chosen.one:
        run_one(chosen.targets[0], arguments[end + 1 :])
    from tests.fuzz.targets import TARGETS

    unknown = set(chosen.targets) - set(TARGETS)
    if unknown:
        _say(f"no such target: {', '.join(sorted(unknown))}; targets are {', '.join(TARGETS)}")
        return 2
    if chosen.replay:
        TARGETS[chosen.targets[0]].check(chosen.replay.read_bytes())
        return 0
    if importlib.util.find_spec("atheris") is None:
        _say("atheris is not installed: `make fuzz` installs it (its wheels are for Linux and CPython 3.11 to 3.14)")
        return 2
    _say(f"{'target':16}{'runs':>10}{'edges':>8}{'features':>10}{'inputs':>8}  ({chosen.seconds} s each)")
    reports = []
    for name in chosen.targets or TARGETS:
        reports.append(fuzz(name, chosen.seconds))
        _say(reports[-1])
    failed = [report for report in reports if report.failure]
    _say(f"{sum(report.executions for report in reports)} runs of {len(reports)} targets, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUTF8", "1")
    sys.exit(main(sys.argv[1:]))
