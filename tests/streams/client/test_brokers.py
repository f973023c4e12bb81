"""Brokers and clients for each deployment: the right class, logins and TLS; nothing connects."""

from __future__ import annotations

import pytest
from faststream.redis import RedisBroker, RedisSentinelBroker
from redis.asyncio import SSLConnection
from redis.asyncio.sentinel import SentinelManagedConnection, SentinelManagedSSLConnection

from router.streams.client.brokers import make_broker
from router.streams.client.cluster import ClusterClient
from router.streams.client.connection import close_sentinels, connect
from tests.support.waiting import scaled

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
    """Its class follows from the scheme."""
    assert type(make_broker(url)) is kind


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        (f"redis+sentinel://{LOGIN}h:1/s/3?{OF_SENTINELS}", SentinelManagedConnection),
        (f"rediss+sentinel://{LOGIN}h:1/s/3?{OF_SENTINELS}&ssl_cert_reqs=none", SentinelManagedSSLConnection),
    ],
)
async def test_brokers_and_clients_log_in_at_servers_and_sentinels(url, kind):
    """Servers and Sentinels have logins of their own; TLS applies to both."""
    broker, client = make_broker(url), connect(url, timeout=scaled(20))
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


async def test_every_node_of_a_cluster_has_the_same_login_and_tls():
    """For the client and for the broker of one node."""
    url = f"rediss+cluster://{LOGIN}h:1,i:2?ssl_cert_reqs=none"
    broker, client = make_broker(url, ("j", 3)), connect(url, timeout=scaled(20))
    assert isinstance(client, ClusterClient)
    reading = await broker.connect()
    for pool, host in ((client._client(("i", 2)).connection_pool, "i"), (reading.connection_pool, "j")):
        connection = pool.make_connection()
        assert isinstance(connection, SSLConnection)
        assert (connection.host, connection.username, connection.password) == (host, "app", "secret")
    await broker.stop()
    await client.aclose()
