"""The published JSON Schemas match the models."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.commands.schemas import schema_files

DIRECTORY = Path(__file__).parent.parent / "config" / "schemas"


@pytest.mark.parametrize("name", sorted(schema_files()))
def test_schema_file_matches_its_model(name):
    """`make schemas` would not change the file."""
    assert (DIRECTORY / name).read_bytes() == schema_files()[name]


def test_there_is_no_other_schema_file():
    """There is no schema of a type that does not exist."""
    assert {path.name for path in DIRECTORY.iterdir()} == set(schema_files())
