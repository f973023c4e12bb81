"""REDIS_URL: what each form says, and what is said of one that is wrong, without repeating it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.streams.client.url import RedisUrl, ServerKind, parse_redis_url


@pytest.mark.parametrize("text", ["redis://h", "rediss://u:p@h:1/2?ssl_ca_certs=x", "unix:///run/redis.sock?db=1"])
def test_one_server_is_handed_on_as_it_is(text):
    """What redis-py reads by itself is not touched."""
    url = parse_redis_url(text)
    assert (url.text, url.kind, url.nodes) == (text, ServerKind.SERVER, ())


def test_sentinels():
    """Hosts with and without a port, the service, the database, and who logs in where."""
    url = parse_redis_url(
        "redis+sentinel://app:p%40ss@s1:26380,[::1],s3/orders%2Feu/2?sentinel_username=watch&sentinel_password=w"
    )
    assert (url.kind, url.is_tls, url.service, url.db) == (ServerKind.SENTINEL, False, "orders/eu", 2)
    assert url.nodes == (("s1", 26380), ("::1", 26379), ("s3", 26379))
    assert (url.username, url.password) == ("app", "p@ss")
    assert (url.sentinel_username, url.sentinel_password) == ("watch", "w")


def test_sentinels_without_database_or_login():
    """The database is 0, and nobody logs in."""
    url = parse_redis_url("redis+sentinel://s1/orders")
    assert (url.db, url.username, url.password, url.sentinel_password) == (0, None, None, None)


def test_cluster_with_tls():
    """Any number of nodes to begin with, and how TLS is spoken."""
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
def test_wrong_one_is_refused_in_words(text, problem):
    """What is wrong is said, and nothing of the URL is repeated: it may hold a password."""
    with pytest.raises(ValueError, match=problem) as raised:
        parse_redis_url(text)
    assert "hunter2" not in str(raised.value)


def test_a_parsed_url_does_not_print_what_is_secret():
    """Neither the password nor the URL that has it."""
    assert "hunter2" not in repr(parse_redis_url("redis+sentinel://u:hunter2@s/x?sentinel_password=hunter2"))


@given(st.text() | st.builds("redis+sentinel://{}/{}".format, st.text(), st.text()))
def test_anything_else_is_a_value_error(text):
    """Whatever is given, it is understood or refused in our words (a UnicodeError, say, would be another's)."""
    try:
        result = parse_redis_url(text)
    except ValueError as error:
        result = error
    assert type(result) in {RedisUrl, ValueError}
