"""npm's and PyPI's twilio against every operation of the sandbox: what they read is what was sent.

    python -m tests.interop.sdks [FOLDER]

Installs both SDKs into a temporary folder, or into one that is kept for the next run, starts a sandbox for each, and
makes the calls of sdk_steps. What an SDK tells is compared with the bytes of the response, with the types that it
declares, and with the other SDK. The list of operations is the sandbox's own: one without a call is a failure. Needs
node; not part of the suite.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
import venv
from base64 import b64encode
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from router.sandbox import create_app
from router.sandbox.middlewares import PUBLIC
from tests.harness.sandbox import make_options
from tests.interop.sdk_steps import steps
from tests.interop.sdk_types import check_object, compare, differ, is_kept, read_types, snake
from tests.support.accounts import ACCOUNT, KEY, SECRET, SERVICE
from tests.support.source import ROOT, SHIPPED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.interop.sdk_step import Step

PYPI, NPM = "twilio==9.13.0", "twilio@6.3.1"
_HERE = Path(__file__).parent
#: Operations that an SDK lacks: (SDK, route).
NOT_IN_SDK: frozenset[tuple[str, str]] = frozenset()
#: Findings that are the SDK's own: a pattern of "SDK: finding", and why the sandbox is right.
KNOWN: tuple[tuple[str, str], ...] = (
    (r"PyPI .*'TwilioException', 'status': None", "its lists raise an exception without status and code"),
)


@dataclass
class Run:
    """One SDK at work on a sandbox of its own: the driver process, and what was kept of responses."""

    name: str
    sandbox: str
    driver: subprocess.Popen[str]
    kept: dict[str, str] = field(default_factory=lambda: {"service": SERVICE})
    #: statuses of the answers by route
    done: dict[str, set[int]] = field(default_factory=dict)

    def ask(self, method: str, path: str, body: dict[str, Any]) -> None:
        """Call the admin API of the sandbox."""
        headers = {"Authorization": f"Basic {b64encode(f'{KEY}:{SECRET}'.encode()).decode()}"}
        request = urllib.request.Request(
            self.sandbox + path,
            json.dumps(body).encode(),
            headers | {"Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=30):
            pass

    def fill(self, value: Any) -> Any:
        """Return a value with the kept ids in place of their names."""
        if isinstance(value, dict):
            return {name: self.fill(each) for name, each in value.items()}
        if isinstance(value, list):
            return [self.fill(each) for each in value]
        return (
            re.sub(r"\$(\w+)", lambda match: self.kept.get(match[1], "unknown"), value)
            if isinstance(value, str)
            else value
        )

    def make(self, step: Step) -> dict[str, Any]:
        """Make a call; returns the driver's answer."""
        if step.switches:
            self.ask("PATCH", "/sandbox/options", step.switches)
        if step.arm:
            self.ask("POST", "/sandbox/faults", step.arm)
        call = {"path": self.fill(step.path), "verb": step.verb, "model": step.model}
        call |= {"body": self.fill(step.body), "fields": self.fill(step.fields)}
        assert self.driver.stdin is not None
        assert self.driver.stdout is not None
        self.driver.stdin.write(json.dumps(call) + "\n")
        self.driver.stdin.flush()
        if not (line := self.driver.stdout.readline()):
            raise SystemExit(f"{self.name} ended: see its output above")
        return json.loads(line)

    def judge(self, step: Step, answer: dict[str, Any]) -> list[str]:
        """Return what is wrong with an answer, and keep what later steps need."""
        if "absent" in answer:
            return [f"not in this SDK: {answer['absent']}"]
        if "crash" in answer:
            return [answer["crash"]]
        last = answer["exchanges"][-1]
        text = json.loads(last["text"] or "null")
        problems = [] if fits(last, step.route) else [f"was {last['method']} {last['path']}"]
        if last["status"] != step.status:
            return [*problems, f"status {last['status']}, not {step.status}: {last['text']}"]
        self.done.setdefault(step.route, set()).add(step.status)
        if step.status >= 400:
            return problems + judge_error(step, answer, text)
        if step.keep:
            name, _, way = step.keep.partition("=")
            try:
                self.kept[name] = follow(last["headers"] if way[0] == "@" else text, way.lstrip("@"))
            except (KeyError, IndexError, TypeError):
                problems.append(f"no {way} in {last['text']}")
        return problems + judge_result(step, answer, text, self.fill(step.body or step.fields))


def fits(exchange: dict[str, Any], route: str) -> bool:
    """Tell whether a request was one of a route."""
    pattern = re.escape(route).replace(r"\{\}", "[^/]+")
    return bool(re.fullmatch(pattern, f"{exchange['method']} {exchange['path']}".replace(r"\ ", " ")))


def follow(value: Any, way: str) -> Any:
    """Return a part of a response by names and numbers; headers have one name, in any case."""
    if way.lower() in {name.lower() for name in value}:
        return next(each for name, each in value.items() if name.lower() == way.lower())
    for name in way.split("."):
        value = value[int(name)] if name.isdigit() else value[name]
    return value


def judge_error(step: Step, answer: dict[str, Any], text: Any) -> list[str]:
    """Return what is wrong with the exception of a refusal."""
    if (error := answer.get("error")) is None:
        return [f"no exception, but {answer['seen']}"]
    code = step.code or text["code"]
    return [] if (error["status"], error["code"]) == (step.status, code) else [f"exception {error}, not code {code}"]


def judge_result(step: Step, answer: dict[str, Any], text: Any, sent: dict[str, Any]) -> list[str]:
    """Return where the object of an SDK is not the response, its types, or what was sent."""
    if "seen" not in answer:
        return [f"exception {answer['error']}"]
    seen = answer["seen"]
    if step.verb == "list":
        return judge_list(step, answer)
    if isinstance(seen, bool) or seen is None:
        return [] if seen is True else [f"result {seen}"]
    problems = compare(text, seen)
    if declared := answer.get("types"):
        types = read_types(Path(declared["file"]).read_text(encoding="utf-8"))
        problems += [f"type of {each}" for each in check_object(text, declared["name"], types, "it")]
    return problems + judge_echo(step, sent, {snake(name): value for name, value in text.items()})


def judge_echo(step: Step, sent: dict[str, Any], told: dict[str, Any]) -> list[str]:
    """Return the fields that a response tells otherwise than they were sent; dots in a name are a way down."""
    problems = []
    for name, value in sent.items():
        here: Any = told
        for part in map(snake, name.split(".")):
            here = here.get(part, ...) if isinstance(here, dict) else ...
        if here is not ... and name not in step.lost and not is_kept(value, here):
            problems.append(f"{name}: {here!r} although {value!r} was sent")
    return problems


def judge_list(step: Step, answer: dict[str, Any]) -> list[str]:
    """Return what is wrong with a list: its rows, and the number of its pages."""
    seen, pages = answer["seen"], [json.loads(each["text"]) for each in answer["exchanges"]]
    key = next(name for name in pages[0] if name != "meta")
    rows = [row for page in pages for row in page[key]]
    problems = [] if len(seen) == len(rows) else [f"{len(seen)} of {len(rows)} rows"]
    names = [{snake(name): value for name, value in row.items()} for row in seen]
    ids = [row.get("id") or row.get("sid") or row.get("conversation_sid") for row in names]
    problems += [] if len(set(ids)) == len(ids) else ["a row is there twice"]
    problems += [] if step.rows in {None, len(rows)} else [f"{len(rows)} rows, not {step.rows}"]
    size = step.fields.get("pageSize")
    if size and len(pages) < -(-len(rows) // size):
        problems.append(f"{len(rows)} rows in {len(pages)} pages of {size}")
    for one, row in zip(rows, seen, strict=False):
        problems += compare(one, row)
    if declared := answer.get("types"):
        types = read_types(Path(declared["file"]).read_text(encoding="utf-8"))
        problems += [f"type of {one}" for row in rows for one in check_object(row, declared["name"], types, "it")]
    return sorted(set(problems))


def offered() -> list[str]:
    """Return the routes of the sandbox's public APIs, with `{}` for each id."""
    routes = create_app(make_options()).router.routes()
    pairs = {(each.method, each.resource.canonical) for each in routes if each.resource is not None}
    public = sorted((path, method) for method, path in pairs if path.startswith(PUBLIC) and method != "HEAD")
    return [f"{method} {re.sub(r'{[^}]*}', '{}', path)}" for path, method in public]


def resource(route: str) -> str:
    """Return the resource of a route: its path without the id at the end."""
    return route.split()[1].removesuffix("/{}")


@contextmanager
def running(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Run a process with pipes while the block runs."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **pipes) as process:
        try:
            yield process
        finally:
            process.terminate()


@contextmanager
def running_sandbox(environment: dict[str, str]) -> Iterator[str]:
    """Run a sandbox that writes times without fraction, as both SDKs read them; yields its URL."""
    command = [sys.executable, "-m", "router", "sandbox", "--port", "0", "--set", "fraction_digits=0"]
    with running(command, environment) as process:
        assert process.stdout is not None
        line = next((line for line in process.stdout if "http://" in line), None)
        if line is None:
            raise SystemExit("the sandbox did not start: see its output above")
        yield line.split()[-1]


def own_environment() -> dict[str, str]:
    """Return the environment of the processes: no settings and no proxy of this one."""
    taken = ("TWILIO_", "ROUTER_", "REDIS_")
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(taken)}
    kept = {name: value for name, value in kept.items() if not name.upper().endswith("_PROXY")}
    return kept | {
        "ROUTER_CONFIG_DIR": str(SHIPPED),
        "TWILIO_ACCOUNT_SID": ACCOUNT,
        "TWILIO_API_KEY": KEY,
        "TWILIO_API_SECRET": SECRET,
    }


def install(folder: Path) -> dict[str, list[str]]:
    """Install both SDKs; returns their names with the commands of their drivers."""
    python = str(folder / "venv" / "bin" / "python")
    if not (folder / "node_modules").exists():
        venv.create(folder / "venv", with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", PYPI], check=True)
        npm = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), NPM]
        subprocess.run(npm, check=True, cwd=folder)
    return {
        f"npm {NPM}": ["node", str(_HERE / "sdk_driver.js"), str(folder)],
        f"PyPI {PYPI}": [python, str(_HERE / "sdk_driver.py")],
    }


def judge(run: Run, step: Step, answer: dict[str, Any]) -> list[str]:
    """Return the findings about an answer that are not the SDK's own."""
    found = run.judge(step, answer)
    if found and found[0].startswith("not in this SDK") and (run.name.split()[0], step.route) in NOT_IN_SDK:
        return []
    return [one for one in found if not any(re.search(pattern, f"{run.name}: {one}") for pattern, _ in KNOWN)]


def drive(runs: list[Run], routes: list[str]) -> int:
    """Make every call with each SDK and print it; returns the number of findings."""
    count = 0
    for step in steps():
        if not {step.route, step.needs or step.route} <= set(routes):
            continue
        answers = [run.make(step) for run in runs]
        findings = {run.name: judge(run, step, answer) for run, answer in zip(runs, answers, strict=True)}
        seen = [answer.get("seen") for answer in answers]
        if all(isinstance(each, dict) for each in seen):
            findings["between the SDKs"] = differ(*seen)
        sys.stdout.write(f"{step.status} {step.route} {step.verb} {step.code or ''}\n")
        for name, problems in findings.items():
            count += len(problems)
            sys.stdout.writelines(f"    {name}: {one}\n" for one in problems)
    return count


def report(runs: list[Run], routes: list[str]) -> int:
    """Print the table of operations, with the statuses seen; returns how many lack a call, and resources an error."""
    count, width = 0, max(map(len, routes))
    sys.stdout.write("\n" + "operation".ljust(width) + "".join(f"  {run.name:24}" for run in runs).rstrip() + "\n")
    for route in routes:
        cells = []
        for run in runs:
            seen = run.done.get(route, set())
            siblings = [one for one in run.done if resource(one) == resource(route)]
            missing = [] if any(status < 400 for status in seen) else ["no call"]
            missing += [] if any(status >= 400 for one in siblings for status in run.done[one]) else ["no error"]
            if (run.name.split()[0], route) in NOT_IN_SDK:
                missing = []
                cells.append("not in this SDK")
            else:
                cells.append(" ".join([*map(str, sorted(seen)), *missing]))
            count += len(missing)
        sys.stdout.write(route.ljust(width) + "".join(f"  {cell:24}" for cell in cells).rstrip() + "\n")
    return count


def main(folder: str | None = None) -> int:
    """Install the SDKs, make the calls and print the findings; 1 if there are any."""
    if not shutil.which("node") or not shutil.which("npm"):
        raise SystemExit("needs node and npm")
    environment, routes = own_environment(), offered()
    with ExitStack() as stack:
        runs = []
        place = Path(folder or stack.enter_context(tempfile.TemporaryDirectory())).resolve()
        for name, command in install(place).items():
            url = stack.enter_context(running_sandbox(environment))
            driver = stack.enter_context(running([*command, url, KEY, SECRET, ACCOUNT], environment))
            runs.append(Run(name, url, driver))
        count = drive(runs, routes) + report(runs, routes)
    sys.stdout.write(f"{len(routes)} operations, {count} findings\n")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
