"""Settings: where they come from, what is wrong with them, and that secrets do not show."""

import re
import tomllib
from pathlib import Path

import pytest

from router.core.errors import SettingsError
from router.settings.environment import read_dotenv
from router.settings.load import load
from router.settings.model import Settings, variable_of

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "config" / "settings.toml"
SID = "AC00000000000000000000000000000001"
SECRETS = {
    "TWILIO_AUTH_TOKEN": "made-up-token-1,made-up-token-2",
    "TWILIO_API_KEY": "SKmadeup",
    "TWILIO_API_SECRET": "made-up-secret",
    "REDIS_URL": "redis://user:made-up-password@redis.example.com:6380/2?password=made-up-query",
    "PUBLIC_BASE_URL": "https://ana:made-up-basic@hooks.example.com/in",
    "TWILIO_CONVERSATIONS_URL": "http://bob:made-up-proxy@localhost:8081/v2",
}


@pytest.fixture
def folder(tmp_path):
    """Return a function that writes a settings.toml and gives the environment that points to it."""

    def write(text=""):
        (tmp_path / "settings.toml").write_text(text, encoding="utf-8")
        return {"ROUTER_CONFIG_DIR": str(tmp_path)}

    return write


def problems_of(environment, **options):
    with pytest.raises(SettingsError) as caught:
        load(environment=environment, **options)
    return caught.value.problems


def test_defaults_are_enough_to_load(folder):
    """Nothing set is no problem: a command asks for what it needs."""
    settings = load(environment=folder())
    assert (settings.port, settings.namespace, settings.redis_url) == (8080, "router", None)


def test_environment_wins_over_the_file(folder):
    """Twelve-factor: the file has defaults, the environment the last word, a command line the very last."""
    environment = folder('namespace = "filed"\nwindow = 7\nbatch = 9\nport = 1111\n')
    settings = load(environment=environment | {"ROUTER_WINDOW": "8", "PORT": "2222"}, overrides={"port": 3333})
    assert (settings.namespace, settings.window, settings.batch, settings.port) == ("filed", 8, 9, 3333)


def test_override_that_is_none_is_none(folder):
    """An option that was not given overrides nothing."""
    assert load(environment=folder() | {"PORT": "2222"}, overrides={"port": None}).port == 2222


def test_blank_variable_is_not_set(folder):
    """An empty variable, as platforms leave them, is as good as none."""
    assert load(environment=folder() | {"PORT": "  ", "ROUTER_AI_AGENT_ADDRESS": ""}).port == 8080


def test_all_problems_at_once_each_with_its_variable(folder):
    """One start shows everything that is wrong: file, environment, misspelt and missing."""
    environment = folder('windwo = 3\ntwilio_auth_token = "x"\n') | {
        "PORT": "eighty",
        "ROUTER_BATCH": "0",
        "ROUTER_LOGLEVEL": "info",
        "ROUTER_LOG_FORMAT": "xml",
        "PUBLIC_BASE_URL": "hooks.example.com",
        "REDIS_URL": "http://redis",
        "TWILIO_ACCOUNT_SID": "SK1",
        "TWILIO_API_KEY": "SK2",
        "ROUTER_NAMESPACE": "a b",
    }
    problems = problems_of(environment, require=("twilio_auth_token", "twilio_conversation_configuration_id"))
    for word in (
        "windwo",
        "twilio_auth_token is secret",
        "PORT",
        "ROUTER_BATCH",
        "ROUTER_LOGLEVEL",
        "ROUTER_LOG_FORMAT",
        "PUBLIC_BASE_URL",
        "REDIS_URL",
        "TWILIO_ACCOUNT_SID",
        "TWILIO_API_SECRET",
        "ROUTER_NAMESPACE",
        "TWILIO_AUTH_TOKEN is not set",
        "TWILIO_CONVERSATION_CONFIGURATION_ID is not set",
    ):
        assert any(word in problem for problem in problems), word


def test_problems_repeat_no_value(folder):
    """A wrong value may be a secret in the wrong place: problems name variables, not values."""
    environment = folder() | {"REDIS_URL": "hunter2-url", "TWILIO_ACCOUNT_SID": "hunter2-sid", "PORT": "hunter2-port"}
    assert "hunter2" not in "\n".join(problems_of(environment))


@pytest.mark.parametrize("key", ["twilio_auth_token", "twilio_api_key", "twilio_api_secret", "redis_url"])
def test_secrets_are_refused_in_the_file(folder, key):
    """A secret in a file that is committed is a mistake, whatever it is; its value is not repeated."""
    (problem,) = problems_of(folder(f'{key} = "hunter2"\n'))
    assert variable_of(key) in problem
    assert "hunter2" not in problem


@pytest.mark.parametrize("text", ["port = ", "[table]\nport = 1", 'port = "x"', "port = true\nport = 2"])
def test_file_that_cannot_be_meant(folder, text):
    """A broken file or a table stops the start."""
    assert problems_of(folder(text))


def test_file_that_is_missing_is_none(tmp_path):
    """Everything can come from the environment."""
    assert load(environment={"ROUTER_CONFIG_DIR": str(tmp_path / "nowhere")}).port == 8080


def test_several_tokens_of_a_rotation(folder):
    """Tokens are separated by commas; blanks and empty parts are nothing."""
    settings = load(environment=folder() | {"TWILIO_AUTH_TOKEN": " new , old,, "})
    assert settings.auth_tokens == ("new", "old")


@pytest.mark.parametrize("value", [",", " , ,"])
def test_token_of_nothing_but_commas_is_missing(folder, value):
    """No token at all would refuse every webhook: that is said at the start."""
    environment = folder() | {"TWILIO_AUTH_TOKEN": value}
    assert any("TWILIO_AUTH_TOKEN is not set" in one for one in problems_of(environment, require=["twilio_auth_token"]))


@pytest.mark.parametrize(
    ("given", "missing"), [("TWILIO_API_KEY", "TWILIO_API_SECRET"), ("TWILIO_API_SECRET", "TWILIO_API_KEY")]
)
def test_half_of_a_key_pair_is_a_problem(folder, given, missing):
    """Key and secret belong together: half of them would silently fall back to the auth token."""
    (problem,) = problems_of(folder() | {given: "SK1"})
    assert missing in problem
    assert given in problem


def test_credentials_of_the_api(folder):
    """The key pair where there is one, else account SID and the first token."""
    environment = folder() | {"TWILIO_ACCOUNT_SID": SID, "TWILIO_AUTH_TOKEN": "new,old"}
    assert load(environment=environment).api_credentials == (SID, "new")
    environment |= {"TWILIO_API_KEY": "SK1", "TWILIO_API_SECRET": "s"}
    assert load(environment=environment).api_credentials == ("SK1", "s")
    assert load(environment=folder()).api_credentials == ("", "")


@pytest.mark.parametrize(
    ("variable", "value", "read"),
    [
        ("PUBLIC_BASE_URL", "https://h.example.com/", "https://h.example.com"),
        ("PUBLIC_BASE_URL", "https://h.example.com:8443/a/b/", "https://h.example.com:8443/a/b"),
        ("TWILIO_CONVERSATIONS_URL", "http://localhost:8081/v2/", "http://localhost:8081"),
        ("TWILIO_CONVERSATIONS_URL", "https://conversations.twilio.com/v1", "https://conversations.twilio.com"),
    ],
)
def test_urls_in_all_their_forms(folder, variable, value, read):
    """A slash at the end or a version is no other URL."""
    settings = load(environment=folder() | {variable: value})
    assert getattr(settings, variable.lower()) == read


@pytest.mark.parametrize(
    "value", ["h.example.com", "ftp://h", "https://", "//h", "https:///x", "http://[::1", "http://h:x"]
)
@pytest.mark.parametrize("variable", ["PUBLIC_BASE_URL", "TWILIO_CONVERSATIONS_URL"])
def test_what_is_no_url(folder, variable, value):
    """A URL needs a scheme and a host, and a port that is a number."""
    (problem,) = problems_of(folder() | {variable: value})
    assert variable in problem


@pytest.mark.parametrize(
    "url",
    ["redis://h", "rediss://u:p@h:1/2", "unix:///run/redis.sock", "redis+sentinel://h,i/s/1", "rediss+cluster://h,i:1"],
)
def test_forms_of_the_redis_url(folder, url):
    """All that the client understands."""
    assert load(environment=folder() | {"REDIS_URL": url}).redis == url


def test_misspelt_variables_are_named(folder):
    """A setting that nobody reads must not be silent; other programs' variables and dev.env's are none of ours."""
    environment = folder() | {"ROUTER_WINDOWS": "1", "ROUTER_URL": "http://x", "TWILIO_PHONE": "x", "router_x": "y"}
    environment["ROUTER_EMAIL_PRIVATE_KEY_FILE"] = "mail-key.pem"
    assert problems_of(environment) == ["ROUTER_WINDOWS: no such setting"]


def test_secrets_never_show(folder):
    """Neither the masked configuration nor a repr nor a dump has a password, a token or a key."""
    settings = load(environment=folder() | SECRETS | {"TWILIO_ACCOUNT_SID": SID})
    shown = str(settings.masked())
    assert "made-up" not in shown
    assert "madeup" not in shown
    assert settings.masked()["REDIS_URL"] == "redis://redis.example.com:6380/2"
    assert settings.masked()["PUBLIC_BASE_URL"] == "https://hooks.example.com/in"
    assert settings.masked()["TWILIO_AUTH_TOKEN"] == "***,***"
    for text in (repr(settings), str(settings)):
        assert "made-up" not in text
        assert "madeup" not in text


def test_masked_configuration_has_every_setting_and_no_address(folder):
    """Every variable is there; what is not set says so; the AI agent's address is masked like any other."""
    masked = load(environment=folder() | {"ROUTER_AI_AGENT_ADDRESS": "+15557650000"}).masked()
    assert set(masked) == {variable_of(name) for name in Settings.model_fields}
    assert masked["TWILIO_AUTH_TOKEN"] == "(not set)"
    assert "15557650000" not in str(masked)


def test_every_key_of_the_file_is_a_setting_with_the_same_default():
    """The file documents the defaults: none is missing, none is wrong, none is unknown."""
    for key, value in tomllib.loads(FILE.read_text(encoding="utf-8")).items():
        assert key in Settings.model_fields, key
        assert Settings.model_fields[key].default == value, key


def test_every_setting_is_in_the_file():
    """As a key or, where it has no default or is secret, as its variable in a comment."""
    text = FILE.read_text(encoding="utf-8")
    for name in Settings.model_fields:
        assert re.search(rf"^#.*\b{variable_of(name)}\b", text, re.MULTILINE), name


def test_every_variable_in_the_file_exists():
    """A comment that names a variable names a real one."""
    named = set(re.findall(r"\b(?:ROUTER|TWILIO)_[A-Z_]+\b", FILE.read_text(encoding="utf-8")))
    assert named <= {variable_of(name) for name in Settings.model_fields}


def test_shipped_file_loads():
    """The repository's own configuration is right."""
    assert load(environment={"ROUTER_CONFIG_DIR": str(FILE.parent)}).config_dir == FILE.parent


def test_configuration_is_found_beside_the_package(tmp_path, monkeypatch):
    """Where the current folder has none, the one that ships with the package is used."""
    monkeypatch.chdir(tmp_path)
    assert load(environment={}).config_dir == FILE.parent


def test_dotenv(tmp_path):
    """What `dev` writes is read back: comments and blanks are skipped, values keep their equal signs."""
    path = tmp_path / "dev.env"
    path.write_text("# comment\n\nA=1\nB = x=y \n  # C=3\nnothing\n")
    assert read_dotenv(path) == {"A": "1", "B": "x=y"}
    assert read_dotenv(tmp_path / "missing") == {}


def test_shared_keys_are_read_and_never_shown():
    """`id=secret` pairs, a secret may hold `=`; half a pair is a problem that names the variable."""
    settings = load(environment={"ROUTER_SHARED_KEYS": "k1=made-up==, k2=other"})
    assert settings.shared_secrets == {"k1": "made-up==", "k2": "other"}
    assert "made-up" not in str(settings.masked()) + repr(settings)
    with pytest.raises(SettingsError, match="ROUTER_SHARED_KEYS"):
        load(environment={"ROUTER_SHARED_KEYS": "k1"})


MAIL_KEY = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEypDIRiXoIDL3ezFMtD4F9QZpe2hmVCNVcNQyrdvdAQRp0NYV/NlkaIG8SsB3zuELTkMZqYoCFnhmGbw1"
    "fBwU0Q=="
)


def test_public_keys_of_mails_are_no_secret(folder):
    """Several serve a rotation; being public they may stand in the file, and are shown."""
    settings = load(environment=folder() | {"ROUTER_EMAIL_PUBLIC_KEYS": f"{MAIL_KEY}, {MAIL_KEY}"})
    assert settings.email_public_keys == (MAIL_KEY, MAIL_KEY)
    assert settings.masked()["ROUTER_EMAIL_PUBLIC_KEYS"] == f"{MAIL_KEY},{MAIL_KEY}"
    assert load(environment=folder(f'email_public_keys = "{MAIL_KEY}"\n')).email_public_keys == (MAIL_KEY,)


def test_wrong_public_keys_of_mails(folder):
    """A key that is none stops the start, named by its variable and its position."""
    (problem,) = problems_of(folder() | {"ROUTER_EMAIL_PUBLIC_KEYS": f"{MAIL_KEY},hunter2"})
    assert problem.startswith("ROUTER_EMAIL_PUBLIC_KEYS: e-mail public key 2 is not")


def test_credentials_of_mails_are_secret(folder):
    """They come from the environment only, are never shown, and half a pair is a problem."""
    settings = load(environment=folder() | {"ROUTER_EMAIL_CREDENTIALS": "ana:made-up:1, bob:made-up"})
    assert [one.get_secret_value() for one in settings.email_credentials] == ["ana:made-up:1", "bob:made-up"]
    assert settings.masked()["ROUTER_EMAIL_CREDENTIALS"] == "***,***"
    assert "made-up" not in repr(settings)
    for half in ("ana", "ana:", ":made-up"):
        (problem,) = problems_of(folder() | {"ROUTER_EMAIL_CREDENTIALS": half})
        assert problem == "ROUTER_EMAIL_CREDENTIALS: is not a comma-separated list of user:password"
    (problem,) = problems_of(folder('email_credentials = "ana:hunter2"\n'))
    assert "ROUTER_EMAIL_CREDENTIALS" in problem


def test_only_twilios_own_names_begin_with_twilio():
    """Every variable that is ours begins with ROUTER_."""
    theirs = {variable_of(name) for name in Settings.model_fields if not variable_of(name).startswith("ROUTER_")}
    assert not [name for name in theirs if "SHARED" in name]


def test_sources_in_shadow_mode(folder):
    """A list of sources; none by default."""
    assert load(environment=folder()).shadow == ()
    settings = load(environment=folder() | {"ROUTER_SHADOW": "messaging, event-streams"})
    assert settings.shadow == ("messaging", "event-streams")
    assert settings.masked()["ROUTER_SHADOW"] == "messaging,event-streams"


@pytest.mark.parametrize("value", ["sms", "Messaging", "messaging,all", "*", "true", "email", "messaging,email"])
def test_no_other_source_can_be_in_shadow_mode(folder, value):
    """A name that is no source, or one without shadow mode, stops the start: nobody shall believe that it is on."""
    (problem,) = problems_of(folder() | {"ROUTER_SHADOW": value})
    assert problem.startswith("ROUTER_SHADOW: ")
