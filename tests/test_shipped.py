"""Users edit their files without breaking the suite: tests read the configuration, and lint the code, that ships."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tomllib

import pytest

from router.settings.files import load_policy, load_voice
from router.settings.load import load
from tests.support.source import ROOT, SHIPPED, modules, shipped_handlers
from tests.support.waiting import scaled

TOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
#: A file as a user may write it: a lint in every line.
TEXT = 'import os, sys\nclass Effects: pass\ndef reply(joined):\n    print(joined)\n    return joined + 1 + "" \n'
#: Where the user's files are.
OWN = ("own_reply.py", "handlers/own_handler.py", "handlers/own/reply.py", "mine/reply.py")
PLAIN = {name: value for name, value in os.environ.items() if not name.startswith("RUFF_")} | {"NO_COLOR": "1"}


def test_linter_and_type_checker_have_the_same_handlers():
    """A new handler of the project's is to be added to both lists."""
    checked = {name for name in TOOLS["mypy"]["files"] if name.startswith("handlers/")}
    assert checked == shipped_handlers()
    assert [name for name in checked if not (ROOT / name).is_file()] == []


def test_shipped_handlers_import_only_shipped_ones():
    """So no module of the project's is forgotten in the lists; the table in handlers/app.py may name a user's."""
    ours = {module.name for module in modules("handlers")}
    missing = {
        name
        for module in modules("handlers")
        if module.path != "handlers/app.py"
        for node in module.nodes
        if isinstance(node, ast.ImportFrom) and (name := node.module or "").startswith("handlers.")
        if name not in ours
    }
    assert missing == set()


def test_tests_load_the_shipped_configuration():
    """Neither `config` nor a variable of the shell is seen by a test that makes an environment, or by a process."""
    for settings in (load(environment={}), load()):
        assert settings.config_dir == SHIPPED
        assert [rule.name for rule in load_policy(settings).rules] == ["our-side", "service-desk"]
        assert len(load_voice(settings).templates) == 3


@pytest.fixture
def project(tmp_path):
    """The project's settings of the linter, and a user's own files in every place that they may be in."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for name in OWN:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(TEXT)
    (tmp_path / "handlers" / "app.py").write_text(TEXT)
    return tmp_path


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=["rules", "format"])
def test_own_files_are_not_linted(project, command):
    """Neither in handlers/, nor beside it, nor in a package of the user's; a file of the project's is."""
    linter = [sys.executable, "-m", "ruff", *command, "--no-cache", "."]
    done = subprocess.run(
        linter, cwd=project, capture_output=True, text=True, check=False, timeout=scaled(60), env=PLAIN
    )
    assert done.returncode == 1, done.stderr
    assert "app.py" in done.stdout
    assert [name for name in OWN if name in done.stdout] == []
