"""Secrets are compared in constant time, and nothing that a payload names is fetched: read from the source."""

import ast

import pytest

from tests.support.source import modules, name_of

#: Modules that hold a secret and something that claims to be it.
COMPARING = (
    "router.core.signing.twilio",
    "router.core.signing.mail",
    "router.commands.explain.explain",
    "router.receiver.authentication",
    "router.receiver.mail_authentication",
    "router.sandbox.middlewares",
)
#: Names that a secret, or what is made of one, has there.
SECRETS = {"token", "tokens", "secret", "secrets", "password", "credentials", "signature", "mac", "given", "digest"}
SECRETS |= {"stated", "own", "authorization", "expected", "computed"}
#: Where the comparison must be: function by module.
VERIFIERS = {
    "router.core.signing.twilio": {"_verify", "verify_json"},
    "router.core.signing.mail": {"verify"},
    "router.sandbox.middlewares": set(),
}
#: Comparisons of such names that give nothing away, as they are written.
HARMLESS = {
    "stated is None": "whether it is there",
    "settings is None": "whether it is there",
}
BY_NAME = {module.name: module for module in modules("router", "handlers")}
#: Who opens connections over HTTP, and where to.
CLIENTS = {
    "router.conversations.session": "the API of the settings",
    "router.sandbox.callbacks": "the status callback URLs of a configuration in the sandbox",
    "router.simulator.http": "the receiver that the command names, and the sandbox that `dev` has started",
}


def comparisons(module):
    """Every `==` and `!=` of which a side is a name that a secret has."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Compare) and any(isinstance(one, ast.Eq | ast.NotEq) for one in node.ops):
            sides = [node.left, *node.comparators]
            if {name_of(part) for side in sides for part in ast.walk(side) if isinstance(part, ast.expr)} & SECRETS:
                yield ast.unparse(node)


@pytest.mark.parametrize("name", COMPARING)
def test_no_secret_is_compared_with_an_operator(name):
    """`==` ends at the first byte that differs, and its time tells how far somebody has guessed."""
    assert [text for text in comparisons(BY_NAME[name]) if text not in HARMLESS] == []


@pytest.mark.parametrize(("name", "function"), [(name, each) for name, all_ in VERIFIERS.items() for each in all_])
def test_verifiers_compare_in_constant_time(name, function):
    """Where a secret decides, `hmac.compare_digest` does."""
    bodies = [one for one in BY_NAME[name].functions() if one.name == function]
    assert any(
        isinstance(node, ast.Call) and name_of(node.func) == "compare_digest"
        for body in bodies
        for node in ast.walk(body)
    )


def test_such_a_comparison_would_be_found():
    """The search sees what it is for."""
    module = type(BY_NAME["router.core.signing.twilio"])("x", "x", "ok = mac == given")
    assert list(comparisons(module)) == ["mac == given"]


def test_no_other_module_compares():
    """Whoever compares digests is on the list above."""
    users = {module.name for module in BY_NAME.values() if list(module.calls("compare_digest"))}
    assert users <= set(COMPARING)
    assert {"router.core.signing.twilio", "router.core.signing.mail", "router.sandbox.middlewares"} <= users


def test_who_calls_out():
    """HTTP goes to the API of the settings, in the sandbox to what it was told, and never to a URL of a payload."""
    found = {module.name for module in BY_NAME.values() if list(module.calls("ClientSession"))}
    assert found == set(CLIENTS)
    for module in BY_NAME.values():
        assert not {"urllib.request", "http.client", "requests", "httpx"} & module.imports(), module.path


def test_the_worker_and_the_receiver_have_no_client():
    """What reads payloads cannot fetch: it opens no session, and asks the API through one port only."""
    for module in BY_NAME.values():
        if module.room in {"router.receiver", "router.inbound", "router.core", "router.worker", "handlers"}:
            assert not list(module.calls("ClientSession", "TCPConnector", "open_connection", "urlopen")), module.path
