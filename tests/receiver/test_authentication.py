"""The door without a request: what is checked again long after it was refused, and what an operator vouches for."""

import pytest
from multidict import CIMultiDict

from router.core.accounts import Account, Accounts
from router.core.errors import AccountError, SignatureError, UnreadableError, WrongTypeError
from router.core.events import SourceName
from router.core.signing.twilio import base_urls
from router.inbound.sources import SOURCES
from router.receiver.authentication import RawRequest, RefusalContext, SignatureAuthenticator
from tests.receiver.samples import ACCOUNT, BASE, OTHER_ACCOUNT, SAMPLES, TOKEN, signed


@pytest.fixture(params=[name for name in SOURCES if name is not SourceName.EMAIL], ids=str)
def source(request):
    return SOURCES[request.param]


def door(base=BASE, *, token=TOKEN, accounts=(ACCOUNT,)):
    configured = Accounts([Account(sid=sid, tokens=(token,)) for sid in accounts])
    return SignatureAuthenticator(configured, base_urls(base), max_body_bytes=1_048_576)


def knock(request):
    return RawRequest(request.path.encode(), CIMultiDict(request.headers()), request.body)


async def test_what_is_authentic_is_let_in_without_a_request(source):
    """The bytes alone are enough: the events are those that the request would have brought."""
    evidence = RefusalContext()
    admission = await door().readmit(knock(signed(SAMPLES[source.name]())), source, evidence)
    assert [piece.identity.account_id for piece in admission.pieces] == [ACCOUNT]
    assert evidence.account_id == ACCOUNT
    assert admission.answer is None, "without a responder every webhook of a source gets the same answer"


async def test_what_a_setting_made_wrong_is_right_once_it_is_mended(source):
    """The same bytes are refused at one PUBLIC_BASE_URL or token and let in at another."""
    request = knock(signed(SAMPLES[source.name]()))
    for wrong in (door("https://other.example.com"), door(token="another")):
        with pytest.raises(SignatureError):
            await wrong.readmit(request, source, RefusalContext())
    assert (await door().readmit(request, source, RefusalContext())).pieces


async def test_an_operator_vouches_for_the_signature_and_for_nothing_else(source):
    """Trusted is let in unsigned; account, type and readability are checked as ever."""
    make = SAMPLES[source.name]
    request = signed(make()).but(signature=None)
    with pytest.raises(SignatureError):
        await door().readmit(knock(request), source, RefusalContext())
    assert (await door().readmit(knock(request), source, RefusalContext(), is_trusted=True)).pieces
    with pytest.raises(AccountError):
        await door().readmit(knock(signed(make(account=OTHER_ACCOUNT))), source, RefusalContext(), is_trusted=True)
    with pytest.raises(WrongTypeError):
        await door().readmit(knock(request.but(content_type="text/plain")), source, RefusalContext(), is_trusted=True)
    with pytest.raises(UnreadableError):
        await door().readmit(knock(request.but(body=b"{")), source, RefusalContext(), is_trusted=True)


async def test_what_is_trusted_is_of_the_account_that_it_names(source):
    """With several accounts an unproven webhook is never taken for another one's."""
    evidence = RefusalContext()
    request = knock(signed(SAMPLES[source.name](account=OTHER_ACCOUNT)).but(signature="wrong"))
    both = door(accounts=(ACCOUNT, OTHER_ACCOUNT))
    (piece,) = (await both.readmit(request, source, evidence, is_trusted=True)).pieces
    assert (piece.identity.account_id, evidence.account_id) == (OTHER_ACCOUNT, OTHER_ACCOUNT)
