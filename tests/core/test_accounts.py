"""Accounts: by SID, by mailbox, the default, and their display without secrets."""

import pytest

from router.core.accounts import Account, Accounts, parse_shared_keys, parse_tokens

FIRST, SECOND, THIRD = (Account(sid=f"AC{number:032x}") for number in (1, 2, 3))


def naming(account, *domains):
    return Account(sid=account.sid, email_domains=domains)


def test_accounts_are_found_by_sid_and_the_first_is_the_default():
    """Accounts keep their order, the first is the default, and an unknown SID finds none."""
    accounts = Accounts([SECOND, FIRST])
    assert accounts.get(FIRST.sid) is FIRST
    assert accounts.get(THIRD.sid) is None
    assert accounts.default is SECOND
    assert ([*accounts], len(accounts)) == ([SECOND, FIRST], 2)


@pytest.mark.parametrize(
    ("mailbox", "expected"),
    [
        pytest.param("ana@one.example", FIRST, id="a domain"),
        pytest.param("Ana@ONE.example ", FIRST, id="in any case"),
        pytest.param("desk@one.example", SECOND, id="a whole mailbox goes before a domain"),
        pytest.param("ana@two.example", SECOND, id="another domain"),
        pytest.param("ana@sub.one.example", None, id="a subdomain is another domain"),
        pytest.param("ana@three.example", None, id="nobody's"),
        pytest.param("", None, id="nothing"),
    ],
)
def test_the_account_of_a_mailbox(mailbox, expected):
    """The account that lists the mailbox wins over the one that lists its domain; else there is none."""
    accounts = Accounts([naming(FIRST, "one.example"), naming(SECOND, "two.example", "desk@one.example"), THIRD])
    found = accounts.of_mailbox(mailbox)
    assert (found and found.sid) == (expected and expected.sid)


@pytest.mark.parametrize(
    "accounts",
    [[FIRST], [naming(FIRST, "one.example")], [FIRST, SECOND]],
    ids=["one account", "one account that names another domain", "nobody names any"],
)
def test_without_email_domains_mail_belongs_to_the_default(accounts):
    """With one account, or without any email_domains, all mail belongs to the first account."""
    assert Accounts(accounts).of_mailbox("ana@elsewhere.example").sid == FIRST.sid


def test_without_accounts_no_mail_has_one():
    """Without accounts no mailbox has one."""
    assert Accounts([]).of_mailbox("ana@one.example") is None


def test_a_masked_account_has_no_secret():
    """The masked account and its repr contain no token, key or mailbox."""
    account = Account(
        sid=FIRST.sid,
        tokens=("made-up-token", "made-up-other"),
        shared_keys={"made-up-id": "made-up-shared"},
        credentials=("SKmade-up", "made-up-secret"),
        configuration_id="conv_configuration_1",
        classic_service_sid="IS1",
        email_domains=("ana@one.example",),
        name="Berlin",
    )
    assert account.masked() == (
        "Berlin; 2 tokens; 1 shared key; API calls with the API key; conv_configuration_1; IS1;"
        " mail of 1 domain or mailbox"
    )
    assert "made-up" not in account.masked() + repr(account)
    assert THIRD.masked() == "no token; no API credentials; no configuration"


@pytest.mark.parametrize(("text", "tokens"), [("", ()), (" , ,", ()), ("a", ("a",)), (" new , old,,", ("new", "old"))])
def test_tokens(text, tokens):
    """Tokens are separated by commas; blanks and empty parts are ignored."""
    assert parse_tokens(text) == tokens


def test_shared_keys():
    """Shared keys are `id=secret` pairs whose secret may contain `=`; half a pair is refused and not repeated."""
    assert parse_shared_keys("k1=a==, k2=b,") == {"k1": "a==", "k2": "b"}
    assert parse_shared_keys("") == {}
    for text in ("hunter2", "hunter2=", "=hunter2"):
        with pytest.raises(ValueError, match="id=secret") as caught:
            parse_shared_keys(text)
        assert "hunter2" not in str(caught.value)
