"""All files that a process reads at its start, at once."""

import shutil

import pytest

from router.core.errors import SettingsError
from router.settings.check_files import check_files
from router.settings.load import load
from router.settings.model import Settings
from tests.support.source import SHIPPED


def test_the_shipped_files_pass():
    """Nothing is raised."""
    assert check_files(load(environment={})) is None


def test_mistakes_of_all_files_are_reported_at_once(tmp_path):
    """Rules, templates, queues and people; a file that two of them read is reported once."""
    config = shutil.copytree(SHIPPED, tmp_path / "config")
    (config / "voice" / "ignore.xml").write_text("<Respons/>")
    (config / "roster.toml").write_text("x = 1\n")
    (config / "routing.toml").write_text("x = [")
    with pytest.raises(SettingsError) as caught:
        check_files(Settings(config_dir=config))
    names = [one.removeprefix(f"{config}/").partition(":")[0] for one in caught.value.problems]
    assert sorted(set(names)) == ["roster.toml", "routing.toml", "voice/ignore.xml"]
    assert names.count("routing.toml") == 1
