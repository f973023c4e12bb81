"""The published JSON Schemas are those of the models."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.commands.schemas import schema_files

DIRECTORY = Path(__file__).parent.parent / "config" / "schemas"


@pytest.mark.parametrize("name", sorted(schema_files()))
def test_schema_file_is_in_step_with_its_model(name):
    """`make schemas` would change nothing."""
    assert (DIRECTORY / name).read_bytes() == schema_files()[name]


def test_there_is_no_other_schema_file():
    """A type that is gone leaves no schema behind."""
    assert {path.name for path in DIRECTORY.iterdir()} == set(schema_files())
