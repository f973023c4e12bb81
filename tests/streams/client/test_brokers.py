"""Brokers and clients for each deployment: the right kind, logins and TLS where they belong; nothing connects."""

from __future__ import annotations

import pytest
from faststream.redis import RedisBroker, RedisSentinelBroker
from redis.asyncio import SSLConnection
from redis.asyncio.sentinel import SentinelManagedConnection, SentinelManagedSSLConnection

from router.streams.client.brokers import make_broker
from router.streams.client.cluster import ClusterClient
from router.streams.client.connection import close_sentinels, connect

LOGIN = "app:secret@"
OF_SENTINELS = "sentinel_username=watch&sentinel_password=other"


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("redis://h:1/2", RedisBroker),
        ("redis+sentinel://h:1/s", RedisSentinelBroker),
    ],
)
def test_each_deployment_has_its_broker(url, kind):
    """As the scheme says."""
    assert type(make_broker(url)) is kind


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        (f"redis+sentinel://{LOGIN}h:1/s/3?{OF_SENTINELS}", SentinelManagedConnection),
        (f"rediss+sentinel://{LOGIN}h:1/s/3?{OF_SENTINELS}&ssl_cert_reqs=none", SentinelManagedSSLConnection),
    ],
)
async def test_reader_and_commands_log_in_at_servers_and_sentinels(url, kind):
    """The login of the URL is the servers'; that of the Sentinels is their own; TLS is for both."""
    broker, client = make_broker(url), connect(url)
    reading = await broker.connect()
    for one in (client, reading):
        pool = one.connection_pool
        connection = pool.make_connection()
        assert isinstance(connection, kind)
        assert isinstance(connection, SSLConnection) == url.startswith("rediss")
        assert (connection.db, connection.username, connection.password) == (3, "app", "secret")
        (sentinel,) = pool.sentinel_manager.sentinels
        asked = sentinel.connection_pool.make_connection()
        assert (asked.username, asked.password) == ("watch", "other")
        assert isinstance(asked, SSLConnection) == url.startswith("rediss")
    await broker.stop()
    await close_sentinels(reading)
    await client.aclose()


async def test_cluster_with_login_and_tls():
    """Every node gets the same."""
    url = f"rediss+cluster://{LOGIN}h:1,i:2?ssl_cert_reqs=none"
    broker, client = make_broker(url, ("j", 3)), connect(url)
    assert isinstance(client, ClusterClient)
    reading = await broker.connect()
    for pool, host in ((client._client(("i", 2)).connection_pool, "i"), (reading.connection_pool, "j")):
        connection = pool.make_connection()
        assert isinstance(connection, SSLConnection)
        assert (connection.host, connection.username, connection.password) == (host, "app", "secret")
    await broker.stop()
    await client.aclose()
