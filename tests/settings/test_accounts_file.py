"""accounts.toml: its meaning, and its mistakes, reported with their line and never with their value."""

import contextlib
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.errors import SettingsError
from router.settings.accounts_file import CONFIGURATION, CREDENTIALS, TOKEN, read_accounts
from tests.support.source import SHIPPED

FILE = SHIPPED / "accounts.toml"
FIRST, SECOND = f"AC{1:032x}", f"AC{2:032x}"
HEX = f"AC{0xABC:032X}"
FULL = f"""
[[account]]
sid = "{FIRST}"
name = "Berlin"
auth_token_env = "BERLIN_TOKEN"
api_key_env = "BERLIN_KEY"
api_secret_env = "BERLIN_SECRET"
shared_keys_env = "BERLIN_SHARED"
configuration_id = "conv_configuration_1"
classic_service_sid = "IS{3:032x}"
conversations_url = "https://conversations.example.com/v2/"
email_domains = ["Berlin.example.com", "hello@example.com"]

[[account]]
sid = "{SECOND}"
auth_token_env = "ROME_TOKEN"
"""
VARIABLES = {
    "BERLIN_TOKEN": "new, old",
    "BERLIN_KEY": "SK1",
    "BERLIN_SECRET": "s",
    "BERLIN_SHARED": "k=v",
    "ROME_TOKEN": "t",
}
EVERYTHING = frozenset({TOKEN, CONFIGURATION, CREDENTIALS})


def problems_of(text):
    with pytest.raises(SettingsError) as caught:
        read_accounts(text, "f")
    return caught.value.problems


def row(*lines, sid=FIRST):
    return "\n".join(["[[account]]", f'sid = "{sid}"', *lines, ""])


def test_all_keys_of_an_account_are_read():
    """Every key is read; secrets come from the variables that the file names."""
    berlin, rome = read_accounts(FULL).accounts(VARIABLES)
    assert (berlin.sid, berlin.name, berlin.tokens) == (FIRST, "Berlin", ("new", "old"))
    assert (berlin.credentials, berlin.shared_keys) == (("SK1", "s"), {"k": "v"})
    assert (berlin.configuration_id, berlin.classic_service_sid) == ("conv_configuration_1", f"IS{3:032x}")
    assert berlin.conversations_url == "https://conversations.example.com"
    assert berlin.email_domains == ("berlin.example.com", "hello@example.com")
    assert (rome.sid, rome.tokens, rome.credentials) == (SECOND, ("t",), (SECOND, "t"))
    assert (rome.configuration_id, rome.conversations_url, rome.email_domains) == (None, None, ())


def test_the_shipped_file_has_no_account_and_a_valid_example():
    """The shipped file changes nothing; uncommented, its example is a valid account."""
    text = FILE.read_text(encoding="utf-8")
    assert tomllib.loads(text) == {}
    assert read_accounts(text).rows == ()
    example = text[text.index("# [[account]]") :].replace("# ", "")
    (account,) = read_accounts(example).accounts({})
    assert account.name == "Berlin"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('sidd = "x"', "f:3: unknown key 'sidd' (known: "),
        (
            'auth_token = "hunter2"',
            "f:3: auth_token is a secret: set it in a variable, and name the variable here as auth_token_env",
        ),
        ('api_secret = "hunter2"', "f:3: api_secret is a secret"),
        ('api_key = "hunter2"', "f:3: api_key is a secret"),
        ('shared_keys = "a=hunter2"', "f:3: shared_keys is a secret"),
        ('auth_token_env = "0123456789abcdef0123456789abcdef"', "f:3: auth_token_env must be the name of an"),
        ('auth_token_env = "ABCDEF6789ABCDEF0123456789ABCDEF"', "f:3: auth_token_env must be the name of an"),
        ('auth_token_env = "SK00000000000000000000000000000001"', "f:3: auth_token_env must be the name of an"),
        ('auth_token_env = "ROUTER_TOKEN"', "f:3: auth_token_env must be the name of an"),
        ('auth_token_env = "hunter2"', "f:3: auth_token_env must be the name of an"),
        ("auth_token_env = 3", "f:3: auth_token_env must be the name of an"),
        ('auth_token_env = ""', "f:3: auth_token_env must be the name of an"),
        ('shared_keys_env = "key=hunter2"', "f:3: shared_keys_env must be the name of an"),
        ('api_key_env = "K"', "f:1: api_key_env and api_secret_env: set both or neither"),
        ('api_secret_env = "K"', "f:1: api_key_env and api_secret_env: set both or neither"),
        ('configuration_id = ""', "f:3: configuration_id must be the id"),
        ('classic_service_sid = "CH1"', "f:3: classic_service_sid must be a classic service"),
        ('conversations_url = "example.com"', "f:3: conversations_url must be an http or https URL"),
        ('name = " "', "f:3: name must be a text"),
        ('email_domains = "example.com"', "f:3: email_domains must be a list"),
        ('email_domains = ["a@b@c"]', "f:3: email_domains must be a list"),
        ('email_domains = ["a.example", "A.example"]', "f:1: email_domains a.example occurs 2 times"),
    ],
)
def test_mistakes_in_an_account(line, words):
    """Each problem has its line and a correction; values that may be secrets are not repeated."""
    (found,) = problems_of(row(line))
    assert found.startswith(words)
    assert "hunter2" not in found
    assert "6789abcdef" not in found.lower()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("account = 3\n", "f:1: accounts are written as [[account]] tables"),
        ('[account]\nsid = "x"\n', "f:1: accounts are written as [[account]] tables"),
        ('[[acount]]\nsid = "x"\n', "f:1: unknown table or key 'acount'"),
        ('[[account]]\nname = "x"\n', "f:1: an account needs a sid"),
        ('[[account]]\nsid = "AC1"\n', "f:2: sid must be an account SID"),
        ("[[account]\n", "f: "),
        (row(sid=HEX) + row(sid=HEX.lower().replace("ac0", "AC0")), f"f:3: sid {HEX} occurs 2 times (lines 1, 3)"),
        (row('email_domains = ["a.example"]') + row('email_domains = ["A.example"]', sid=SECOND), "f:4: email_domains"),
    ],
)
def test_mistakes_in_the_file(text, words):
    """Wrong tables, accounts without a SID, and duplicates are reported with their line."""
    assert any(problem.startswith(words) for problem in problems_of(text)), problems_of(text)


def test_all_problems_are_reported_at_once():
    """One start reports all mistakes in all accounts."""
    text = row('auth_token = "x"', 'windwo = "3"') + row('api_key_env = "k"', sid="AC2")
    assert [problem.split()[:2] for problem in problems_of(text)] == [
        ["f:3:", "auth_token"],
        ["f:4:", "unknown"],
        ["f:5:", "api_key_env"],
        ["f:6:", "sid"],
        ["f:7:", "api_key_env"],
    ]


@pytest.mark.parametrize(
    ("lines", "variables", "require", "expected"),
    [
        ((), {}, {TOKEN}, ["auth_token_env is missing: the name of the variable that holds the account's auth token"]),
        (('auth_token_env = "T"',), {}, {TOKEN}, ["T is not set (auth_token_env)"]),
        (('auth_token_env = "T"',), {"T": " , "}, {TOKEN}, ["T is not set (auth_token_env)"]),
        (('auth_token_env = "T"',), {"T": "x"}, {TOKEN, CREDENTIALS}, []),
        (('auth_token_env = "T"',), {}, set(), []),
        (('auth_token_env = "T"',), {}, {CREDENTIALS}, ["T is not set (auth_token_env)"]),
        (("PAIR",), {"T": "x", "K": "k", "S": "s"}, {CREDENTIALS}, []),
        (("PAIR",), {"K": "k"}, set(), ["S is not set (api_secret_env)"]),
        (("PAIR",), {"T": "x"}, {CREDENTIALS}, ["K is not set (api_key_env)", "S is not set (api_secret_env)"]),
        (("PAIR",), {"T": "x"}, {TOKEN}, []),
        (('shared_keys_env = "H"', 'auth_token_env = "T"'), {"T": "x"}, {TOKEN}, ["H is not set (shared_keys_env)"]),
        (('shared_keys_env = "H"',), {"H": "hunter2"}, set(), ["H must be a comma-separated list of id=secret"]),
        (
            (),
            {},
            {CONFIGURATION},
            ["configuration_id is missing: the configuration (conv_configuration_...) for conversations"],
        ),
    ],
)
def test_missing_variables(lines, variables, require, expected):
    """Required variables must be set for each account; half a key pair is a problem for every command."""
    pair = 'auth_token_env = "T"\napi_key_env = "K"\napi_secret_env = "S"'
    text = row(*[line.replace("PAIR", pair) for line in lines], 'name = "Berlin"')
    found = read_accounts(text, "f").problems(variables, frozenset(require), None)
    assert found == [f"f:1: account {FIRST} (Berlin): {problem}" for problem in expected]


def test_an_account_is_configured_in_one_place():
    """The account of TWILIO_ACCOUNT_SID may not be in the file as well."""
    file = read_accounts(row('auth_token_env = "T"'), "f")
    (problem,) = file.problems({"T": "x"}, EVERYTHING - {CONFIGURATION}, FIRST)
    assert problem.startswith(f"f:1: account {FIRST} is TWILIO_ACCOUNT_SID too")
    assert file.problems({"T": "x"}, EVERYTHING - {CONFIGURATION}, SECOND) == []


@given(text=st.text(max_size=200))
def test_any_text_is_read_or_refused(text):
    """Any text is a valid file or raises SettingsError, never another error."""
    with contextlib.suppress(SettingsError):
        read_accounts(text)
