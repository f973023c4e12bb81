"""The settings of the mail route, as the start and `check` describe them."""

import pytest

from router.commands.check.command import _check_mails
from router.settings.load import load
from tests.settings.test_load import MAIL_KEY

KEYS = {"ROUTER_EMAIL_PUBLIC_KEYS": MAIL_KEY}
CREDENTIALS = {"ROUTER_EMAIL_CREDENTIALS": "ana:made-up"}


@pytest.mark.parametrize(
    ("environment", "proof", "level", "words"),
    [
        pytest.param({}, "off", "ok", "ROUTER_EMAIL_PUBLIC_KEYS or ROUTER_EMAIL_CREDENTIALS", id="off"),
        pytest.param(KEYS, "signature", "ok", "accepted by signature", id="signature"),
        pytest.param(CREDENTIALS, "credentials", "warn", "prefer a signature", id="credentials"),
        pytest.param(KEYS | CREDENTIALS, "signature or credentials", "ok", "signature or credentials", id="both"),
    ],
)
def test_how_mails_are_authenticated(environment, proof, level, words):
    """The finding says whether the route is off and what authenticates mails; credentials alone are a warning."""
    settings = load(environment=environment)
    assert settings.mail_proof == proof
    finding = _check_mails(settings)
    assert finding.level == level
    assert words in finding.text
    assert "made-up" not in finding.text
