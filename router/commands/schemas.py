"""`python -m router schemas`: the JSON Schemas of all entry types, generated from the models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from router.core.entries import DATA_TYPES, json_schema
from router.process.terminal import show

if TYPE_CHECKING:
    import argparse
    from pathlib import Path


def schema_files() -> dict[str, bytes]:
    """Return the schemas by file name."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    return {f"{kind}.json": orjson.dumps(json_schema(data), option=options) for kind, data in DATA_TYPES.items()}


def write_schemas(arguments: argparse.Namespace) -> int:
    """Write all schemas into the folder `directory`."""
    directory: Path = arguments.directory
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in schema_files().items():
        (directory / name).write_bytes(text)
        show(str(directory / name))
    return 0
