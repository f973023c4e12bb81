"""The variables of a running `dev`, where a command has no REDIS_URL of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.core.errors import SettingsError
from router.settings import environment
from router.settings.environment import DEV_FILE, is_borrowed, own_environment, running_dev
from router.settings.load import load

REDIS_URL = "redis://127.0.0.1:1/0"


@pytest.fixture
def state_dir(tmp_path, monkeypatch):
    """A folder with the file of a `dev`, which is the one that is looked at."""
    (tmp_path / DEV_FILE).write_text(f"# by dev\nREDIS_URL={REDIS_URL}\nROUTER_NAMESPACE=of-dev\nPORT=1\n")
    monkeypatch.setattr(environment, "STATE_DIR", tmp_path)
    return tmp_path


def test_without_a_redis_url_the_dev_is_used(state_dir):
    """Its settings hold within the block only."""
    with running_dev() as found:
        assert (found, is_borrowed()) == (state_dir / DEV_FILE, True)
        settings = load()
        assert (settings.redis, settings.namespace) == (REDIS_URL, "of-dev")
    assert "REDIS_URL" not in own_environment()
    assert not is_borrowed()


def test_variables_that_are_set_win(state_dir, monkeypatch):
    """A blank one is not set."""
    monkeypatch.setenv("ROUTER_NAMESPACE", "mine")
    monkeypatch.setenv("REDIS_URL", " ")
    with running_dev() as found:
        assert found is not None
        assert load().namespace == "mine"
        assert load().redis == REDIS_URL


def test_a_redis_url_is_used_alone(state_dir, monkeypatch):
    """A mixture of two deployments would be wrong."""
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:2/0")
    with running_dev() as found:
        assert (found, is_borrowed(), load().namespace) == (None, False, "router")


def test_a_named_dev_wins(state_dir, monkeypatch):
    """Whatever else is set."""
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:2/0")
    monkeypatch.setenv("ROUTER_NAMESPACE", "mine")
    with running_dev(state_dir):
        assert (load().redis, load().namespace) == (REDIS_URL, "of-dev")


def test_a_named_dev_must_be_there(tmp_path):
    """The error names the option and the file."""
    with pytest.raises(SettingsError, match="--state-dir") as error, running_dev(tmp_path):
        pass
    assert str(tmp_path / DEV_FILE) in error.value.problems[0]


def test_without_a_dev_nothing_is_borrowed(monkeypatch, tmp_path):
    """As before."""
    monkeypatch.setattr(environment, "STATE_DIR", Path(tmp_path))
    with running_dev() as found:
        assert (found, is_borrowed()) == (None, False)


def test_an_error_ends_the_loan(state_dir):
    """The next command of the process is not affected."""
    with pytest.raises(ValueError, match="x"), running_dev():
        raise ValueError("x")
    assert not is_borrowed()
