"""Secrets are compared in constant time and payload URLs are never fetched, as the source shows."""

import ast

import pytest

from tests.support.source import modules, name_of

#: Modules that compare a secret with a claimed one.
COMPARING = (
    "router.core.signing.twilio",
    "router.core.signing.mail",
    "router.operations.signatures",
    "router.receiver.authentication",
    "router.receiver.mail_authentication",
    "router.sandbox.middlewares",
    "router.console.identity",
    "router.console.passwords",
    "router.console.security",
    "router.console.users",
)
#: Names of secrets there, and of values derived from them.
SECRETS = {"token", "tokens", "secret", "secrets", "password", "credentials", "signature", "mac", "given", "digest"}
SECRETS |= {"stated", "own", "authorization", "expected", "computed"}
#: The functions that must compare in constant time, by module.
VERIFIERS = {
    "router.core.signing.twilio": {"_verify", "verify_json"},
    "router.core.signing.mail": {"verify"},
    "router.sandbox.middlewares": set(),
    "router.console.identity": {"_by_cookie"},
    "router.console.passwords": {"_compare"},
    "router.console.security": {"check_action"},
    "router.console.users": {"find_token"},
}
#: Harmless comparisons of such names, as written.
HARMLESS = {
    "stated is None": "whether it is present",
    "settings is None": "whether it is present",
    "len(signature) == USUAL_LENGTH": "the length is public",
    "len(signature) != USUAL_LENGTH": "the length is public",
    "len(signature.strip()) != _LENGTHS[digest]": "the length is public",
}
BY_NAME = {module.name: module for module in modules("router", "handlers")}
#: The modules that open HTTP connections, and their destinations.
CLIENTS = {
    "router.conversations.session": "the API of the settings",
    "router.sandbox.deliveries": "the webhook URLs of a configuration and of the classic service in the sandbox",
    "router.simulator.http": "the receiver that the command names, and the sandbox that `dev` has started",
}


def comparisons(module):
    """Yield every `==` and `!=` with a name on one side that secrets have."""
    for node in module.nodes:
        if isinstance(node, ast.Compare) and any(isinstance(one, ast.Eq | ast.NotEq) for one in node.ops):
            sides = [node.left, *node.comparators]
            if {name_of(part) for side in sides for part in ast.walk(side) if isinstance(part, ast.expr)} & SECRETS:
                yield ast.unparse(node)


@pytest.mark.parametrize("name", COMPARING)
def test_no_secret_is_compared_with_an_operator(name):
    """No secret is compared with `==`, whose time depends on the first differing byte."""
    assert [text for text in comparisons(BY_NAME[name]) if text not in HARMLESS] == []


@pytest.mark.parametrize(
    ("name", "function"), [(name, each) for name, verifiers in VERIFIERS.items() for each in sorted(verifiers)]
)
def test_verifiers_compare_in_constant_time(name, function):
    """The functions that decide about a secret use `hmac.compare_digest`."""
    bodies = [one for one in BY_NAME[name].functions() if one.name == function]
    assert any(
        isinstance(node, ast.Call) and name_of(node.func) == "compare_digest"
        for body in bodies
        for node in ast.walk(body)
    )


def test_such_a_comparison_would_be_found():
    """The search finds a comparison of a secret."""
    module = type(BY_NAME["router.core.signing.twilio"])("x", "x", "ok = mac == given")
    assert list(comparisons(module)) == ["mac == given"]


def test_no_other_module_compares():
    """Only the listed modules compare digests."""
    users = {module.name for module in BY_NAME.values() if list(module.calls("compare_digest"))}
    assert users <= set(COMPARING)
    assert {"router.core.signing.twilio", "router.core.signing.mail", "router.sandbox.middlewares"} <= users


def test_which_modules_open_http_clients():
    """Only the listed modules open HTTP clients, and none of them takes its URL from a payload."""
    found = {module.name for module in BY_NAME.values() if list(module.calls("ClientSession", "TCPConnector"))}
    assert found == set(CLIENTS)
    for module in BY_NAME.values():
        assert not {"urllib.request", "http.client", "requests", "httpx"} & module.imports(), module.path


def test_the_worker_and_the_receiver_have_no_client():
    """Modules that read payloads open no HTTP connection of their own."""
    for module in BY_NAME.values():
        if module.room in {"router.receiver", "router.inbound", "router.core", "router.worker", "handlers"}:
            assert not list(module.calls("ClientSession", "TCPConnector", "open_connection", "urlopen")), module.path
