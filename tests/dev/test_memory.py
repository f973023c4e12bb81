"""Redis and the sandbox remember the same conversations over a restart, or forget them together."""

from __future__ import annotations

import pytest

from router.core.errors import SettingsError
from router.dev import memory
from router.dev.memory import Keep, choose_embedded, choose_external
from router.process.terminal import CommandFailedError
from router.streams.client.embedded import SERVER_LOG

URL = "redis://127.0.0.1:6379/0"


@pytest.fixture(autouse=True)
def readable(monkeypatch):
    """The sandbox can read a file that says so."""
    monkeypatch.setattr(memory, "can_read", lambda path, account: path.exists() and path.read_text() == f"of {account}")


@pytest.fixture
def state(tmp_path):
    """Return a function that makes a state directory with or without data of the two, and a spool."""

    def make(*, has_data, memory_of=None):
        (tmp_path / "redis").mkdir()
        (tmp_path / "spool").mkdir()
        if has_data:
            (tmp_path / "redis" / "appendonlydir").mkdir()
            (tmp_path / "redis" / SERVER_LOG).touch()
        if memory_of:
            (tmp_path / "redis" / "sandbox-memory").write_text(f"of {memory_of}")
        return tmp_path

    return make


@pytest.mark.parametrize(
    ("has_data", "memory_of", "keep", "is_kept"),
    [
        (True, "AC1", Keep.TOGETHER, True),
        (True, None, Keep.TOGETHER, False),
        (True, "AC2", Keep.TOGETHER, False),
        (True, "AC1", Keep.FRESH, False),
        (True, None, Keep.FRESH, False),
        (True, "AC1", Keep.ALL, True),
        (True, None, Keep.ALL, True),
    ],
)
def test_an_embedded_redis_is_kept_with_the_sandbox_s_memory_only(state, has_data, memory_of, keep, is_kept):
    """Of an earlier release or another account there is none: then everything is forgotten, unless that is refused."""
    folder = state(has_data=has_data, memory_of=memory_of)
    path, note = choose_embedded(folder, "AC1", keep)
    assert (folder / "redis" / "appendonlydir").exists() is is_kept
    assert (folder / "spool").exists() is is_kept
    assert ("goes on with" in note, "is forgotten" in note) == (is_kept, not is_kept)
    assert path == folder / "redis" / "sandbox-memory"
    assert path.exists() is (is_kept and memory_of is not None)


@pytest.mark.parametrize("keep", [Keep.TOGETHER, Keep.ALL])
def test_a_redis_that_was_emptied_empties_the_sandbox(state, keep):
    """Its conversations would be known to nobody."""
    path, note = choose_embedded(state(has_data=False, memory_of="AC1"), "AC1", keep)
    assert (path.exists(), note) == (False, "")


@pytest.mark.parametrize("keep", [Keep.TOGETHER, Keep.FRESH])
def test_the_data_of_another_server_is_left_alone(state, keep):
    """The state directory may be anybody's folder: what our server did not write is not deleted."""
    folder = state(has_data=True)
    (folder / "redis" / SERVER_LOG).unlink()
    choose_embedded(folder, "AC1", keep)
    assert (folder / "redis" / "appendonlydir").exists()


def test_the_first_start_says_nothing(tmp_path):
    """There is nothing to forget, with or without --fresh."""
    for keep in Keep:
        assert choose_embedded(tmp_path / "new", "AC1", keep)[1] == ""


def choose(folder, keep=Keep.TOGETHER, *, has_data, namespace="router"):
    return choose_external(folder, "AC1", keep, url=URL, namespace=namespace, has_data=has_data)


def test_an_external_redis_without_data_begins_with_an_empty_sandbox(tmp_path):
    """Somebody has emptied it: what the sandbox remembers of it goes too."""
    path, _ = choose(tmp_path, has_data=False)
    path.write_text("of AC1")
    assert choose(tmp_path, has_data=False) == (path, "")
    assert not path.exists()


def test_an_external_redis_is_known_by_its_url_and_namespace(tmp_path):
    """Each has conversations of its own."""
    path, _ = choose(tmp_path, has_data=False)
    path.write_text("of AC1")
    assert choose(tmp_path, has_data=True) == (path, "goes on with the data of earlier runs")
    assert choose(tmp_path, has_data=False, namespace="other")[0] != path


def test_data_that_the_sandbox_does_not_know_is_refused(tmp_path):
    """It may be a deployment's: nothing is deleted, one line says what to do, and --keep goes on."""
    with pytest.raises(CommandFailedError, match=r"namespace router .* ROUTER_NAMESPACE .* --keep"):
        choose(tmp_path, has_data=True)
    assert "does not know" in choose(tmp_path, Keep.ALL, has_data=True)[1]


def test_an_external_redis_is_never_emptied(tmp_path):
    """--fresh is for the data in the state directory."""
    with pytest.raises(SettingsError, match=r"--fresh: .* ROUTER_NAMESPACE"):
        choose(tmp_path, Keep.FRESH, has_data=True)
