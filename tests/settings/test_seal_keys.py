"""ROUTER_SEAL_KEYS: mistakes named by position, never by value; the keys of a rotation."""

from base64 import b64encode, urlsafe_b64encode

import pytest

from router.core.errors import SettingsError
from router.core.sealing import NO_KEYS, SealedKind
from router.settings.load import load

ONE, TWO = bytes(range(200, 232)), bytes(32)


def load_with(value, folder):
    return load(environment={"ROUTER_CONFIG_DIR": str(folder), "ROUTER_SEAL_KEYS": value})


def test_without_keys_nothing_is_sealed(tmp_path):
    """The default."""
    assert load_with("", tmp_path).sealer is NO_KEYS
    assert not NO_KEYS.has_keys


def test_the_first_key_seals_and_all_open(tmp_path):
    """Either alphabet of base64 is read, and blanks around a key do not count."""
    old = load_with(b64encode(ONE).decode(), tmp_path).sealer
    both = load_with(f"{b64encode(TWO).decode()}, {urlsafe_b64encode(ONE).decode()}", tmp_path).sealer
    assert both.key_ids[1:] == old.key_ids
    assert both.open_body(old.seal_body(b"x", SealedKind.INBOUND), SealedKind.INBOUND) == b"x"
    sealed = [both.seal_body(b"x", SealedKind.INBOUND) for _ in range(2)]
    assert sealed[0] != sealed[1]  # another nonce each time


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("c2hvcnQ=", "key 1 has 5 bytes instead of 32"),
        ("not base64!", "key 1 is not base64"),
        (f"{b64encode(ONE).decode()},{b64encode(ONE).decode()}", "key 2 comes twice"),
    ],
)
def test_a_wrong_key_is_named_by_its_position(value, problem, tmp_path):
    """The start is refused, and the message shows no part of a key."""
    with pytest.raises(SettingsError) as caught:
        load_with(value, tmp_path)
    (text,) = caught.value.problems
    assert text == f"ROUTER_SEAL_KEYS: {problem} (`openssl rand -base64 32` makes a key)"


def test_keys_come_from_the_environment_only_and_are_never_shown(tmp_path):
    """Neither a file nor the log of the settings has one."""
    key = b64encode(ONE).decode()
    (tmp_path / "settings.toml").write_text(f'seal_keys = "{key}"\n', encoding="utf-8")
    with pytest.raises(SettingsError, match="secret: set ROUTER_SEAL_KEYS in the environment"):
        load_with("", tmp_path)
    (tmp_path / "settings.toml").write_text("", encoding="utf-8")
    assert load_with(key, tmp_path).masked()["ROUTER_SEAL_KEYS"] == "***"
