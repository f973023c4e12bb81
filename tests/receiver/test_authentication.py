"""The authenticator without an HTTP request: a stored webhook is checked again, and an operator can trust it."""

import gc
from contextlib import suppress

import pytest
from multidict import CIMultiDict

from router.core.accounts import Account, Accounts
from router.core.errors import AccountError, SignatureError, UnreadableError, WrongTypeError
from router.core.events import SourceName
from router.core.signing.twilio import SETTINGS_HEADER, base_urls
from router.inbound.sources import SOURCES
from router.receiver import authentication
from router.receiver.authentication import RefusalContext, SignatureAuthenticator
from router.receiver.requests import RawRequest
from tests.receiver.samples import SAMPLES, signed
from tests.support.accounts import ACCOUNT, BASE_URL, OTHER_ACCOUNT, TOKEN


@pytest.fixture(params=[name for name in SOURCES if name is not SourceName.EMAIL], ids=str)
def source(request):
    return SOURCES[request.param]


def authenticator(base=BASE_URL, *, token=TOKEN, accounts=(ACCOUNT,)):
    configured = Accounts([Account(sid=sid, tokens=(token,)) for sid in accounts])
    return SignatureAuthenticator(configured, base_urls(base), max_body_bytes=1_048_576)


def raw(request):
    return RawRequest(request.path.encode(), CIMultiDict(request.headers()), request.body)


async def test_an_authentic_webhook_is_accepted_without_a_request(source):
    """The stored bytes are enough: the events are those of the original request."""
    context = RefusalContext()
    accepted = await authenticator().recheck(raw(signed(SAMPLES[source.name]())), source, context)
    assert [piece.identity.account_id for piece in accepted.pieces] == [ACCOUNT]
    assert context.account_id == ACCOUNT
    assert accepted.answer is None, "without a responder every webhook gets the constant answer of its source"


async def test_a_corrected_setting_accepts_what_the_wrong_one_refused(source):
    """The same bytes are refused with one PUBLIC_BASE_URL or token and accepted with another."""
    request = raw(signed(SAMPLES[source.name]()))
    for wrong in (authenticator("https://other.example.com"), authenticator(token="another")):
        with pytest.raises(SignatureError):
            await wrong.recheck(request, source, RefusalContext())
    assert (await authenticator().recheck(request, source, RefusalContext())).pieces


async def test_trust_replaces_the_signature_and_nothing_else(source):
    """A trusted webhook needs no signature; account, content type and form are still checked."""
    make = SAMPLES[source.name]
    request = signed(make()).but(signature=None)

    async def recheck(one, *, is_trusted=True):
        return await authenticator().recheck(raw(one), source, RefusalContext(), is_trusted=is_trusted)

    with pytest.raises(SignatureError):
        await recheck(request, is_trusted=False)
    assert (await recheck(request)).pieces
    with pytest.raises(AccountError):
        await recheck(signed(make(account=OTHER_ACCOUNT)))
    with pytest.raises(WrongTypeError):
        await recheck(request.but(content_type="text/plain"))
    with pytest.raises(UnreadableError):
        await recheck(request.but(body=b"{"))


async def test_a_trusted_webhook_belongs_to_the_account_that_it_names(source):
    """With several accounts an unproven webhook never becomes another account's."""
    context = RefusalContext()
    request = raw(signed(SAMPLES[source.name](account=OTHER_ACCOUNT)).but(signature="wrong"))
    both = authenticator(accounts=(ACCOUNT, OTHER_ACCOUNT))
    (piece,) = (await both.recheck(request, source, context, is_trusted=True)).pieces
    assert (piece.identity.account_id, context.account_id) == (OTHER_ACCOUNT, OTHER_ACCOUNT)


@pytest.mark.parametrize("signature", [None, "x", "x" * 28], ids=["missing", "short", "wrong"])
async def test_a_refused_webhook_is_forgotten_at_once(source, signature):
    """Nothing of it waits for the garbage collector: a flood of large forgeries would fill the memory until then."""
    request = raw(signed(SAMPLES[source.name]()).but(signature=signature))
    door, context = authenticator(), RefusalContext()
    gc.freeze()  # what was there before is not looked at: that would take seconds
    gc.disable()
    try:
        for _ in range(10):
            with suppress(SignatureError):
                await door.recheck(request, source, context)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        assert [one for one in gc.garbage if isinstance(one, RawRequest | BaseException)] == []
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.unfreeze()
        gc.enable()


@pytest.mark.parametrize("accounts", [(ACCOUNT,), (ACCOUNT, OTHER_ACCOUNT)], ids=["one account", "two accounts"])
@pytest.mark.parametrize("signature", [None, "x" * 28], ids=["missing", "wrong"])
async def test_the_search_for_accounts_in_an_unproven_body_is_bounded(source, accounts, signature, monkeypatch):
    """It is done once, in a few KiB: bytes that are nearly an account SID again and again take milliseconds."""
    searched, pattern = [], authentication._SID

    class Counting:
        def findall(self, body, start=0, end=2**30):
            searched.append(len(body[start:end]))
            return pattern.findall(body, start, end)

    monkeypatch.setattr(authentication, "_SID", Counting())
    forged = signed(SAMPLES[source.name]()).but(signature=signature)
    forged = forged.but(body=forged.body + b"&x=" + (b"AC" * 16 + b"Ag") * 2000)
    with pytest.raises(SignatureError):
        await authenticator(accounts=accounts).recheck(raw(forged), source, RefusalContext())
    assert sum(searched) <= 4096


async def test_signature_settings_in_several_lines_are_one_list(source):
    """A key and an algorithm that a proxy has put into header lines of their own both count, in any order."""
    account = Account(sid=ACCOUNT, tokens=("another",), shared_keys={"k1": TOKEN})
    door = SignatureAuthenticator(Accounts([account]), base_urls(BASE_URL), max_body_bytes=1_048_576)
    request = raw(signed(SAMPLES[source.name]()))
    for line in ("algorithm=HMAC_SHA1", "key=k1"):
        request.headers.add(SETTINGS_HEADER, line)
    assert (await door.recheck(request, source, RefusalContext())).pieces
