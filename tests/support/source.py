"""The project's own source as syntax trees, for tests that compare documents and tables with the code."""

from __future__ import annotations

import ast
import tomllib
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
#: The configuration as it ships, of which `config` is the copy that users edit: tests read this one.
SHIPPED = ROOT / "tests" / "shipped"


@dataclass(frozen=True)
class Module:
    """One source file: its dotted name, its path from the root, its text and its tree."""

    name: str
    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """The syntax tree, of which many a run needs none: every process that collects the tests makes modules."""
        return ast.parse(self.text)

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """All nodes of the tree: dozens of tests look at them, and walking takes longer than looking."""
        return tuple(ast.walk(self.tree))

    @property
    def room(self) -> str:
        """The part of the project it belongs to: `router.core`, `router.settings`, `handlers`."""
        return ".".join(self.name.split(".")[: 2 if self.name.startswith("router.") else 1])

    def imports(self) -> set[str]:
        """Every module that it names in an import, those for type checking only included."""
        found = set()
        for node in self.nodes:
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.path}: relative import"
                found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        return found

    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        for node in self.nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node

    def calls(self, *names: str) -> Iterator[ast.Call]:
        """Calls of a bare name or of an attribute of that name."""
        for node in self.nodes:
            if isinstance(node, ast.Call) and name_of(node.func) in names:
                yield node


def name_of(node: ast.expr) -> str:
    """The last part of a dotted name."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def shipped_handlers() -> frozenset[str]:
    """The files of handlers/ that are the project's, by the list of the linter; others are the user's."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return frozenset(name for name in project["tool"]["ruff"]["include"] if name.startswith("handlers/"))


@cache
def modules(*folders: str) -> tuple[Module, ...]:
    """Every Python file below `folders` of the repository that is the project's."""
    found = []
    ours = shipped_handlers()
    for path in sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        relative = path.relative_to(ROOT)
        if relative.parts[0] == "handlers" and relative.as_posix() not in ours:
            continue
        name = ".".join(relative.with_suffix("").parts).removesuffix(".__init__")
        text = path.read_text(encoding="utf-8")
        found.append(Module(name, relative.as_posix(), text))
    return tuple(found)
