"""REDIS_URL: the parts of each form, and errors that say what is wrong without quoting the URL."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.streams.client.url import RedisUrl, ServerKind, parse_redis_url


@pytest.mark.parametrize("text", ["redis://h", "rediss://u:p@h:1/2?ssl_ca_certs=x", "unix:///run/redis.sock?db=1"])
def test_the_url_of_one_server_is_passed_on_unchanged(text):
    """redis-py parses it."""
    url = parse_redis_url(text)
    assert (url.text, url.kind, url.nodes) == (text, ServerKind.SERVER, ())


def test_a_url_of_sentinels_has_hosts_service_database_and_two_logins():
    """Hosts with and without a port; the servers and the Sentinels have logins of their own."""
    url = parse_redis_url(
        "redis+sentinel://app:p%40ss@s1:26380,[::1],s3/orders%2Feu/2?sentinel_username=watch&sentinel_password=w"
    )
    assert (url.kind, url.is_tls, url.service, url.db) == (ServerKind.SENTINEL, False, "orders/eu", 2)
    assert url.nodes == (("s1", 26380), ("::1", 26379), ("s3", 26379))
    assert (url.username, url.password) == ("app", "p@ss")
    assert (url.sentinel_username, url.sentinel_password) == ("watch", "w")


def test_database_and_logins_of_sentinels_are_optional():
    """The database is then 0, and there is no login."""
    url = parse_redis_url("redis+sentinel://s1/orders")
    assert (url.db, url.username, url.password, url.sentinel_password) == (0, None, None, None)


def test_a_url_of_a_cluster_has_nodes_and_tls_options():
    """Any number of nodes may be given to start from."""
    url = parse_redis_url("rediss+cluster://:secret@n1,n2:7000/?ssl_ca_certs=%2Fca.pem&ssl_cert_reqs=required")
    assert (url.kind, url.is_tls, url.nodes) == (ServerKind.CLUSTER, True, (("n1", 6379), ("n2", 7000)))
    assert (url.username, url.password) == (None, "secret")
    assert dict(url.options) == {"ssl_ca_certs": "/ca.pem", "ssl_cert_reqs": "required"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("http://hunter2", "does not begin with one of redis://"),
        ("hunter2", "does not begin with one of redis://"),
        ("redis+sentinel://s1,s2", "names no service"),
        ("redis+sentinel://s1//", "names no service"),
        ("redis+sentinel://s1/orders/hunter2", "only a database number"),
        ("redis+sentinel://s1/orders/0/hunter2", "only a database number"),
        ("redis+sentinel://s1,,s3/orders", "host number 2"),
        ("redis+sentinel:///orders", "host number 1"),
        ("redis+sentinel://hunter2:hunter2/orders", "host number 1"),
        ("redis+sentinel://s1:0/orders", "host number 1"),
        ("redis+sentinel://[::1/orders", "is not a URL"),
        ("redis+sentinel://s1/orders?ssl_ca_certs=hunter2", "unknown option"),
        ("redis+cluster://n1/3", "database 0 only"),
        ("redis+cluster://n1?sentinel_password=hunter2", "unknown option"),
        ("redis+cluster://n1?hunter2", "unknown option"),
    ],
)
def test_an_invalid_url_is_refused_without_being_quoted(text, problem):
    """The error says what is wrong; the URL may contain a password."""
    with pytest.raises(ValueError, match=problem) as raised:
        parse_redis_url(text)
    assert "hunter2" not in str(raised.value)


def test_the_repr_of_a_parsed_url_has_no_secret():
    """Neither the passwords nor the URL that contains them."""
    assert "hunter2" not in repr(parse_redis_url("redis+sentinel://u:hunter2@s/x?sentinel_password=hunter2"))


@given(st.text() | st.builds("redis+sentinel://{}/{}".format, st.text(), st.text()))
def test_any_text_is_parsed_or_a_plain_value_error(text):
    """No other exception, not even a subclass such as UnicodeError, whose message would quote the URL."""
    try:
        result = parse_redis_url(text)
    except ValueError as error:
        result = error
    assert type(result) in {RedisUrl, ValueError}
