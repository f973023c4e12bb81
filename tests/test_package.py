"""The wheel, installed into an empty environment and used in an empty folder: nothing of the checkout is at hand."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile

import pytest

from router import __version__
from tests.harness.dev import FREE_PORTS
from tests.support.accounts import ACCOUNT
from tests.support.source import ROOT, SHIPPED
from tests.support.waiting import scaled

pytestmark = pytest.mark.processes
BARE = {
    name: value for name, value in os.environ.items() if not name.startswith(("ROUTER_", "TWILIO_", "REDIS_", "PY"))
}
#: What the build reads.
SOURCES = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "router", "handlers")
#: The settings of a consumer, of a Redis that does not answer.
CONSUMER = {"REDIS_URL": "redis://127.0.0.1:1", "TWILIO_ACCOUNT_SID": ACCOUNT, "TWILIO_AUTH_TOKEN": "token"}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of what the build reads, with the configuration as it ships: building writes into its folder."""
    folder = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)
    shutil.copytree(SHIPPED, folder / "config", ignore=shutil.ignore_patterns("Procfile"))
    shutil.copytree(ROOT / "config" / "schemas", folder / "config" / "schemas")
    return folder


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory):
    """The wheel, built with the locked build backend, so without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(source)], check=True, timeout=scaled(100))
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The folder of commands of an environment with the wheel and the locked packages, which a .pth leads to."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    options = ["--python", str(python), "install", "--no-deps", "--no-index", "--quiet"]
    subprocess.run([sys.executable, "-m", "pip", *options, str(wheel)], check=True, timeout=scaled(100))
    (packages,) = folder.glob("lib/*/site-packages")
    locked = [path for path in sys.path if path.endswith("-packages")]
    assert locked
    (packages / "locked.pth").write_text("\n".join(locked))
    return python.parent


@pytest.fixture
def run(installed, tmp_path):
    """Return a function that runs a command of the environment in an empty folder; output and errors together."""

    def run(*command, **environment):
        return subprocess.run(
            [installed / command[0], *command[1:]],
            cwd=tmp_path,
            env=BARE | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=scaled(90),
        )

    return run


def test_wheel_contains_all_files_of_the_packages(wheel, source):
    """Modules, scripts, type markers, pages, static files, and `config` as `router/defaults`, with the same bytes."""
    packed = zipfile.ZipFile(wheel)
    names = {name for name in packed.namelist() if not name.split("/")[0].endswith(".dist-info")}
    files = {
        path.relative_to(source).as_posix(): path
        for folder in ("router", "handlers", "config")
        for path in (source / folder).rglob("*")
        if path.suffix in {".py", ".lua", ".toml", ".xml", ".json", ".html"} or path.name == "py.typed"
    }
    files |= {
        path.relative_to(source).as_posix(): path
        for path in (source / "router/console/static").rglob("*")
        if path.is_file()
    }
    wanted = {name.replace("config/", "router/defaults/", 1): path for name, path in files.items()}
    assert names == set(wanted)
    assert [name for name, path in wanted.items() if packed.read(name) != path.read_bytes()] == []


@pytest.mark.parametrize("command", [("participant-router",), ("python", "-m", "router")], ids=["script", "module"])
def test_version_is_shown(run, command):
    """`--version` shows the one that the package has."""
    done = run(*command, "--version")
    assert (done.returncode, done.stdout) == (0, f"participant-router {__version__}\n")


def test_demo_runs_in_an_empty_folder(run, tmp_path):
    """`participant-router dev --once` ends with 0, although the folder has modules with the names of ours."""
    for name in ("router", "handlers"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('of another program')")
    done = run("participant-router", "dev", "--once", *FREE_PORTS, COLUMNS="200")
    assert done.returncode == 0, done.stdout
    joined = [line for line in done.stdout.splitlines() if re.search("(ai|human)-agent: ", line)]
    assert len(joined) == 11, done.stdout
    assert any("VOICE" in line for line in joined)
    assert "human-agent: service-desk" in done.stdout


def test_receivers_that_share_a_port_run_in_any_folder(run, tmp_path):
    """`receive --processes` starts its children from the package; there they report what is missing."""
    (tmp_path / "router").mkdir()
    (tmp_path / "router" / "__init__.py").write_text("raise SystemExit('of another program')")
    given = CONSUMER | {"PUBLIC_BASE_URL": "https://hooks.example.com", "ROUTER_HOST": "127.0.0.1", "PORT": "0"}
    (tmp_path / "config").mkdir()
    done = run("participant-router", "receive", "--processes", "2", **given)
    assert done.returncode == 1
    assert "config/routing.toml" in done.stdout
    assert "of another program" not in done.stdout


def test_init_writes_the_defaults_and_keeps_what_was_edited(run, tmp_path, source):
    """Each file is named; one that was edited is kept, and overwritten with --force only."""
    first = run("participant-router", "init")
    assert first.returncode == 0, first.stdout
    shipped = sorted(path.relative_to(source) for path in (source / "config").rglob("*") if path.is_file())
    assert sorted(first.stdout.split()) == sorted(["written", *map(str, shipped)] + ["written"] * (len(shipped) - 1))
    for name in shipped:
        assert (tmp_path / name).read_bytes() == (source / name).read_bytes()
    roster = tmp_path / "config" / "roster.toml"
    roster.write_text("# mine\n")
    again = run("participant-router", "init", "config").stdout.splitlines()
    assert [line.split() for line in again if not line.startswith("unchanged")] == [
        ["kept", "yours", "config/roster.toml"]
    ]
    assert roster.read_text() == "# mine\n"
    forced = run("participant-router", "init", "--force").stdout.splitlines()
    assert [line.split() for line in forced if not line.startswith("unchanged")] == [
        ["overwritten", "config/roster.toml"]
    ]
    assert roster.read_bytes() == (source / "config" / "roster.toml").read_bytes()


def test_init_into_another_folder_says_how_to_use_it(run, tmp_path):
    """A process finds `config` in the current folder by itself, and any other by ROUTER_CONFIG_DIR."""
    done = run("participant-router", "init", "etc/router")
    assert done.stdout.splitlines()[-1] == f"to use these files: export ROUTER_CONFIG_DIR={tmp_path}/etc/router"
    (tmp_path / "file").write_text("")
    refused = run("participant-router", "init", "file")
    assert (refused.returncode, "file: " in refused.stdout, "Traceback" in refused.stdout) == (1, True, False)


def test_edited_defaults_are_used(run, tmp_path):
    """A process reads `config` of the folder that it starts in, and the packaged files without one."""
    assert run("participant-router", "check", "--offline").stdout.count("FAIL  routing") == 0
    run("participant-router", "init")
    (tmp_path / "config" / "routing.toml").write_text('[default]\ntarget = "nobody"\n')
    assert "config/routing.toml:2" in run("participant-router", "check", "--offline").stdout
    (tmp_path / "config" / "routing.toml").unlink()
    assert "init config" in run("participant-router", "check", "--offline").stdout


def test_handlers_have_a_command(run):
    """`participant-router handler NAME` runs one: an unknown name lists them, and their settings are needed."""
    unknown = run("participant-router", "handler", "nobody")
    assert unknown.returncode == 2
    assert {"ai_agent", "human_agent"} <= set(unknown.stdout.replace("'", " ").replace(",", " ").split())
    missing = run("participant-router", "handler", "ai_agent")
    assert missing.returncode == 2
    assert "REDIS_URL is not set" in missing.stdout
    assert "Traceback" not in missing.stdout


def test_reply_is_found_in_the_current_folder(run, tmp_path):
    """The user's function needs no installation, and a wrong one is named at the start."""
    (tmp_path / "mine.py").write_text("print('loaded', flush=True)\nreply = 1\n")
    done = run("participant-router", "handler", "ai_agent", ROUTER_AI_AGENT_REPLY="mine:reply", **CONSUMER)
    assert done.returncode == 2
    assert done.stdout.startswith("loaded\n")
    assert "ROUTER_AI_AGENT_REPLY: 'mine:reply' is not a function (int)" in done.stdout
