"""Settings: their sources, their mistakes, and secrets that never show."""

import re
import tomllib
from pathlib import Path

import pytest

import router.settings.load
from router.core.errors import SettingsError
from router.settings.environment import read_dotenv
from router.settings.files import DEFAULTS
from router.settings.load import _FORMS, load
from router.settings.model import Settings, variable_of
from tests.support.accounts import ACCOUNT
from tests.support.source import SHIPPED

FILE = SHIPPED / "settings.toml"
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
    """Return a function that writes a settings.toml and returns the environment that points to it."""

    def write(text=""):
        (tmp_path / "settings.toml").write_text(text, encoding="utf-8")
        return {"ROUTER_CONFIG_DIR": str(tmp_path)}

    return write


def problems_of(environment, **options):
    with pytest.raises(SettingsError) as caught:
        load(environment=environment, **options)
    return caught.value.problems


def test_defaults_are_enough_to_load(folder):
    """Without any setting the defaults load: each command requires what it needs."""
    settings = load(environment=folder())
    assert (settings.port, settings.namespace, settings.redis_url) == (8080, "router", None)


def test_environment_wins_over_the_file(folder):
    """The environment wins over the file, and the command line over both."""
    environment = folder('namespace = "filed"\nwindow = 7\nbatch = 9\nport = 1111\n')
    settings = load(environment=environment | {"ROUTER_WINDOW": "8", "PORT": "2222"}, overrides={"port": 3333})
    assert (settings.namespace, settings.window, settings.batch, settings.port) == ("filed", 8, 9, 3333)


def test_an_override_of_none_changes_nothing(folder):
    """A command-line option that was not given overrides nothing."""
    assert load(environment=folder() | {"PORT": "2222"}, overrides={"port": None}).port == 2222


def test_a_blank_variable_counts_as_unset(folder):
    """Platforms leave empty variables; they count as unset."""
    assert load(environment=folder() | {"PORT": "  ", "ROUTER_AI_AGENT_ADDRESS": ""}).port == 8080


def test_all_problems_are_reported_at_once(folder):
    """One start reports every mistake in the file and the environment, each with its variable."""
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


ROOT_URL = "a URL without a path, such as https://console.example.com: pages are at its root"


@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        ("TWILIO_ACCOUNT_SID", "SK1", "must be AC and 32 hexadecimal digits"),
        ("ROUTER_NAMESPACE", "a b", "must be 1 to 64 letters, digits, dots, underscores or hyphens"),
        ("ROUTER_LOG_LEVEL", "loud", "must be debug, info, warning or error"),
        ("ROUTER_VOICE_RELAY_URL", "https://h", "must be a wss:// URL"),
        ("PUBLIC_BASE_URL", "hooks.example.com", "must be an http or https URL"),
        ("ROUTER_CONSOLE_URL", "https://h/console", f"must be {ROOT_URL}"),
        ("ROUTER_CONSOLE_URL", "https://h?a=b", f"must be {ROOT_URL}"),
        ("ROUTER_CONSOLE_URL", "console", "must be an http or https URL"),
        ("PORT", "eighty", "Input should be a valid integer, unable to parse string as an integer"),
    ],
)
def test_a_problem_says_what_the_value_must_be(folder, variable, value, problem):
    """Patterns are described in words."""
    assert problems_of(folder() | {variable: value}) == [f"{variable}: {problem}"]


def test_every_pattern_is_described_in_words():
    """Every setting with a pattern has a description of it."""
    patterns = {name for name, field in Settings.model_fields.items() if "pattern=" in repr(field)}
    assert patterns == set(_FORMS)


def test_problems_repeat_no_value(folder):
    """Problems name variables, not values: a wrong value may be a misplaced secret."""
    environment = folder() | {"REDIS_URL": "hunter2-url", "TWILIO_ACCOUNT_SID": "hunter2-sid", "PORT": "hunter2-port"}
    assert "hunter2" not in "\n".join(problems_of(environment))


@pytest.mark.parametrize("key", ["twilio_auth_token", "twilio_api_key", "twilio_api_secret", "redis_url"])
def test_secrets_are_refused_in_the_file(folder, key):
    """A secret in settings.toml is refused, and its value is not repeated."""
    (problem,) = problems_of(folder(f'{key} = "hunter2"\n'))
    assert variable_of(key) in problem
    assert "hunter2" not in problem


@pytest.mark.parametrize("text", ["port = ", "[table]\nport = 1", 'port = "x"', "port = true\nport = 2"])
def test_a_broken_file_stops_the_start(folder, text):
    """Invalid TOML, tables and wrong values stop the start."""
    assert problems_of(folder(text))


def test_the_file_may_be_missing(tmp_path):
    """Without settings.toml everything comes from the environment."""
    assert load(environment={"ROUTER_CONFIG_DIR": str(tmp_path / "nowhere")}).port == 8080


def test_several_tokens_of_a_rotation(folder):
    """Tokens are separated by commas; blanks and empty parts are ignored."""
    settings = load(environment=folder() | {"TWILIO_AUTH_TOKEN": " new , old,, "})
    assert settings.auth_tokens == ("new", "old")


@pytest.mark.parametrize("value", [",", " , ,"])
def test_a_token_of_commas_only_is_not_set(folder, value):
    """A list of empty tokens would refuse every webhook, so the start reports it."""
    environment = folder() | {"TWILIO_AUTH_TOKEN": value}
    assert any("TWILIO_AUTH_TOKEN is not set" in one for one in problems_of(environment, require=["twilio_auth_token"]))


@pytest.mark.parametrize(
    ("given", "missing"), [("TWILIO_API_KEY", "TWILIO_API_SECRET"), ("TWILIO_API_SECRET", "TWILIO_API_KEY")]
)
def test_half_of_a_key_pair_is_a_problem(folder, given, missing):
    """A key without its secret, or the reverse, would silently fall back to the auth token."""
    (problem,) = problems_of(folder() | {given: "SK1"})
    assert missing in problem
    assert given in problem


def test_credentials_of_the_api(folder):
    """The key pair is used if there is one, else account ACCOUNT and the first token."""
    environment = folder() | {"TWILIO_ACCOUNT_SID": ACCOUNT, "TWILIO_AUTH_TOKEN": "new,old"}
    assert load(environment=environment).api_credentials == (ACCOUNT, "new")
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
def test_urls_lose_trailing_slashes_and_the_version(folder, variable, value, read):
    """Trailing slashes and an API version are removed."""
    settings = load(environment=folder() | {variable: value})
    assert getattr(settings, variable.lower()) == read


@pytest.mark.parametrize(
    "value", ["h.example.com", "ftp://h", "https://", "//h", "https:///x", "http://[::1", "http://h:x"]
)
@pytest.mark.parametrize("variable", ["PUBLIC_BASE_URL", "TWILIO_CONVERSATIONS_URL"])
def test_invalid_urls_are_refused(folder, variable, value):
    """A URL needs a scheme, a host, and a numeric port if any."""
    (problem,) = problems_of(folder() | {variable: value})
    assert variable in problem


@pytest.mark.parametrize(
    "url",
    ["redis://h", "rediss://u:p@h:1/2", "unix:///run/redis.sock", "redis+sentinel://h,i/s/1", "rediss+cluster://h,i:1"],
)
def test_forms_of_the_redis_url(folder, url):
    """Every form that the client understands is accepted."""
    assert load(environment=folder() | {"REDIS_URL": url}).redis == url


def test_unknown_router_variables_are_reported(folder):
    """Unknown ROUTER_ variables are reported with the nearest name; those of dev.env and others are not."""
    environment = folder() | {"ROUTER_WINDOWS": "1", "ROUTER_URL": "http://x", "TWILIO_PHONE": "x", "router_x": "y"}
    environment["ROUTER_EMAIL_PRIVATE_KEY_FILE"] = "mail-key.pem"
    assert problems_of(environment) == ["ROUTER_WINDOWS: unknown setting, did you mean ROUTER_WINDOW?"]
    assert problems_of(folder() | {"ROUTER_X": "1"}) == ["ROUTER_X: unknown setting"]


def test_secrets_never_show(folder):
    """The masked configuration, repr and str contain no password, token or key."""
    settings = load(environment=folder() | SECRETS | {"TWILIO_ACCOUNT_SID": ACCOUNT})
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
    """Every variable is listed, unset ones as such, and the AI agent's address is masked."""
    masked = load(environment=folder() | {"ROUTER_AI_AGENT_ADDRESS": "+15557650000"}).masked()
    assert set(masked) == {variable_of(name) for name in Settings.model_fields}
    assert masked["TWILIO_AUTH_TOKEN"] == "(not set)"
    assert "15557650000" not in str(masked)


def test_every_key_of_the_file_is_a_setting_with_the_same_default():
    """Every key of settings.toml is a setting with its default."""
    for key, value in tomllib.loads(FILE.read_text(encoding="utf-8")).items():
        assert key in Settings.model_fields, key
        assert Settings.model_fields[key].default == value, key


def test_every_setting_is_in_the_file():
    """Every setting is a key of settings.toml or named in its comments."""
    text = FILE.read_text(encoding="utf-8")
    for name in Settings.model_fields:
        assert re.search(rf"^#.*\b{variable_of(name)}\b", text, re.MULTILINE), f"{name}: config, then `make shipped`"


def test_every_variable_in_the_file_exists():
    """Every variable that settings.toml names is a setting."""
    named = set(re.findall(r"\b(?:ROUTER|TWILIO)_[A-Z_]+\b", FILE.read_text(encoding="utf-8")))
    assert named <= {variable_of(name) for name in Settings.model_fields}


def test_shipped_file_loads():
    """The shipped settings.toml loads."""
    assert load(environment={"ROUTER_CONFIG_DIR": str(FILE.parent)}).config_dir == FILE.parent


def test_configuration_is_found_beside_the_package(tmp_path, monkeypatch):
    """Without a `config` in the current folder the one beside the package is used."""
    monkeypatch.setattr(router.settings.load, "HERE", Path("config"))
    monkeypatch.chdir(tmp_path)
    assert load(environment={}).config_dir == DEFAULTS == Path(router.__file__).parents[1] / "config"
    (tmp_path / "config").mkdir()
    assert load(environment={}).config_dir == Path("config")


def test_dotenv(tmp_path):
    """read_dotenv skips comments and blank lines and keeps equal signs in values."""
    path = tmp_path / "dev.env"
    path.write_text("# comment\n\nA=1\nB = x=y \n  # C=3\nnothing\n")
    assert read_dotenv(path) == {"A": "1", "B": "x=y"}
    assert read_dotenv(tmp_path / "missing") == {}


def test_shared_keys_are_read_and_never_shown():
    """Shared keys are `id=secret` pairs whose secret may contain `=`; half a pair names the variable."""
    settings = load(environment={"ROUTER_SHARED_KEYS": "k1=made-up==, k2=other"})
    assert settings.shared_secrets == {"k1": "made-up==", "k2": "other"}
    assert "made-up" not in str(settings.masked()) + repr(settings)
    with pytest.raises(SettingsError, match="ROUTER_SHARED_KEYS"):
        load(environment={"ROUTER_SHARED_KEYS": "k1"})


MAIL_KEY = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEypDIRiXoIDL3ezFMtD4F9QZpe2hmVCNVcNQyrdvdAQRp0NYV/NlkaIG8SsB3zuELTkMZqYoCFnhmGbw1"
    "fBwU0Q=="
)


def test_public_keys_of_mails_are_shown(folder):
    """Several keys may be set, in the file too, and they are shown."""
    settings = load(environment=folder() | {"ROUTER_EMAIL_PUBLIC_KEYS": f"{MAIL_KEY}, {MAIL_KEY}"})
    assert settings.email_public_keys == (MAIL_KEY, MAIL_KEY)
    assert settings.masked()["ROUTER_EMAIL_PUBLIC_KEYS"] == f"{MAIL_KEY},{MAIL_KEY}"
    assert load(environment=folder(f'email_public_keys = "{MAIL_KEY}"\n')).email_public_keys == (MAIL_KEY,)


def test_wrong_public_keys_of_mails(folder):
    """An invalid key stops the start, named by variable and position."""
    (problem,) = problems_of(folder() | {"ROUTER_EMAIL_PUBLIC_KEYS": f"{MAIL_KEY},hunter2"})
    assert problem.startswith("ROUTER_EMAIL_PUBLIC_KEYS: e-mail public key 2 is not")


def test_credentials_of_mails_are_secret(folder):
    """They come from the environment only and never show; half a pair is a problem."""
    settings = load(environment=folder() | {"ROUTER_EMAIL_CREDENTIALS": "ana:made-up:1, bob:made-up"})
    assert [one.get_secret_value() for one in settings.email_credentials] == ["ana:made-up:1", "bob:made-up"]
    assert settings.masked()["ROUTER_EMAIL_CREDENTIALS"] == "***,***"
    assert "made-up" not in repr(settings)
    for half in ("ana", "ana:", ":made-up"):
        (problem,) = problems_of(folder() | {"ROUTER_EMAIL_CREDENTIALS": half})
        assert problem == "ROUTER_EMAIL_CREDENTIALS: must be a comma-separated list of user:password"
    (problem,) = problems_of(folder('email_credentials = "ana:hunter2"\n'))
    assert "ROUTER_EMAIL_CREDENTIALS" in problem


def test_our_own_variables_begin_with_router():
    """Variables that Twilio does not define begin with ROUTER_."""
    theirs = {variable_of(name) for name in Settings.model_fields if not variable_of(name).startswith("ROUTER_")}
    assert not [name for name in theirs if "SHARED" in name]


def test_sources_in_shadow_mode(folder):
    """ROUTER_SHADOW is a list of sources, empty by default."""
    assert load(environment=folder()).shadow == ()
    settings = load(environment=folder() | {"ROUTER_SHADOW": "messaging, event-streams"})
    assert settings.shadow == ("messaging", "event-streams")
    assert settings.masked()["ROUTER_SHADOW"] == "messaging,event-streams"


@pytest.mark.parametrize("value", ["sms", "Messaging", "messaging,all", "*", "true", "email", "messaging,email"])
def test_no_other_source_can_be_in_shadow_mode(folder, value):
    """An unknown source, or e-mail, stops the start."""
    (problem,) = problems_of(folder() | {"ROUTER_SHADOW": value})
    assert problem.startswith("ROUTER_SHADOW: ")
