"""Accounts: by SID, by mailbox, the default, and what is shown of them."""

import pytest

from router.core.accounts import Account, Accounts, parse_shared_keys, parse_tokens

FIRST, SECOND, THIRD = (Account(sid=f"AC{number:032x}") for number in (1, 2, 3))


def naming(account, *domains):
    return Account(sid=account.sid, email_domains=domains)


def test_accounts_are_found_by_sid_and_the_first_is_the_default():
    """In the order in which they are configured; an unknown SID is nobody's."""
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
    """Who names the mailbox, else who names its domain; a mailbox that no account names is nobody's."""
    accounts = Accounts([naming(FIRST, "one.example"), naming(SECOND, "two.example", "desk@one.example"), THIRD])
    found = accounts.of_mailbox(mailbox)
    assert (found and found.sid) == (expected and expected.sid)


@pytest.mark.parametrize(
    "accounts",
    [[FIRST], [naming(FIRST, "one.example")], [FIRST, SECOND]],
    ids=["one account", "one account that names another domain", "nobody names any"],
)
def test_mails_without_a_choice_are_the_defaults(accounts):
    """With nothing to tell accounts apart by, every mail is the first one's."""
    assert Accounts(accounts).of_mailbox("ana@elsewhere.example").sid == FIRST.sid


def test_without_accounts_no_mail_has_one():
    """Nothing is configured, nothing is found."""
    assert Accounts([]).of_mailbox("ana@one.example") is None


def test_what_is_shown_of_an_account_has_no_secret():
    """SID, name, and whether there is what it needs: neither values nor mailboxes, in a repr neither."""
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
    """Separated by commas; blanks and empty parts are nothing."""
    assert parse_tokens(text) == tokens


def test_shared_keys():
    """`id=secret` pairs, a secret may hold `=`; half a pair is refused without being repeated."""
    assert parse_shared_keys("k1=a==, k2=b,") == {"k1": "a==", "k2": "b"}
    assert parse_shared_keys("") == {}
    for text in ("hunter2", "hunter2=", "=hunter2"):
        with pytest.raises(ValueError, match="id=secret") as caught:
            parse_shared_keys(text)
        assert "hunter2" not in str(caught.value)
