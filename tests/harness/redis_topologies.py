"""Several Redis servers of a test's own: a primary with a replica, the same behind Sentinels, and a Cluster.

They are set up by commands to the servers themselves. A server that was killed comes back with `start`, with its data.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from router.streams.client.connection import RedisError
from tests.harness.redis_server import RedisServer
from tests.support.waiting import scaled, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Servers = TypeVar("Servers", "PrimaryAndReplica", "Sentinels", "Cluster")

#: Seconds of silence after which Sentinels, or the nodes of a Cluster, take a server for dead; scaled.
DOWN_AFTER = 0.7
SERVICE = "orders"
SLOTS = 16384


class PrimaryAndReplica:
    """A primary with one replica, and nothing that would fail over."""

    def __init__(self, directory: Path) -> None:
        self.primary = RedisServer(directory, "repl-diskless-sync-delay 0")
        self.replica = RedisServer(directory, "repl-diskless-sync-delay 0", f"replicaof 127.0.0.1 {self.primary.port}")

    async def start(self) -> None:
        """Start both and wait until the replica is in step."""
        await asyncio.gather(self.primary.start(), self.replica.start())
        await until(self.is_in_step)

    async def is_in_step(self) -> bool:
        """Tell whether the replica has what the primary has."""
        return await is_replica_in_step(self.replica)

    def stop(self) -> None:
        """End both."""
        self.replica.kill()
        self.primary.kill()


@contextmanager
def running(servers: Servers) -> Iterator[Servers]:
    """Run servers, started and ready, while the block runs; for fixtures without an event loop of their own."""
    try:
        asyncio.run(servers.start())
        yield servers
    finally:
        servers.stop()


async def is_replica_in_step(replica: RedisServer) -> bool:
    """Tell whether a replica is connected to its primary and has all of its data."""
    return (await replica.info("replication")).get("master_link_status") == "up"


def make_sentinel(directory: Path, primary: RedisServer, *, quorum: int = 2) -> RedisServer:
    """Return a Sentinel, not yet started, that watches a primary."""
    return RedisServer(
        directory,
        f"sentinel monitor {SERVICE} 127.0.0.1 {primary.port} {quorum}",
        f"sentinel down-after-milliseconds {SERVICE} {int(scaled(DOWN_AFTER) * 1000)}",
        f"sentinel failover-timeout {SERVICE} {int(scaled(4) * 1000)}",
        is_sentinel=True,
    )


class Sentinels(PrimaryAndReplica):
    """A primary with one replica, watched by three Sentinels of which two must agree."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.sentinels = [make_sentinel(directory, self.primary) for _ in range(3)]

    @property
    def url(self) -> str:
        """The value of REDIS_URL."""
        places = ",".join(f"127.0.0.1:{one.port}" for one in self.sentinels)
        return f"redis+sentinel://{places}/{SERVICE}"

    async def start(self) -> None:
        """Start all and wait until a failover would succeed."""
        await asyncio.gather(self.primary.start(), self.replica.start())
        await asyncio.gather(*[one.start() for one in self.sentinels])
        await until(self.is_ready)

    async def is_ready(self) -> bool:
        """Tell whether the replica is in step and all Sentinels know of it and of each other."""
        rows = [await one.ask("SENTINEL MASTERS") for one in self.sentinels]
        states = [row[SERVICE] for row in rows]
        knows = all(one["num-slaves"] == 1 and one["num-other-sentinels"] == 2 for one in states)
        return knows and await self.is_in_step()

    async def has_failed_over(self) -> bool:
        """Tell whether the replica has become the primary; at that moment it closes its connections."""
        try:
            return (await self.replica.info("replication"))["role"] == "master"
        except (RedisError, OSError):
            return False

    async def demote(self) -> None:
        """Make the old primary a replica of the new one at once; Sentinels would do so after ten seconds."""
        await self.primary.ask("REPLICAOF", "127.0.0.1", self.replica.port)

    def stop(self) -> None:
        """End all of it."""
        for one in self.sentinels:
            one.kill()
        super().stop()


class Cluster:
    """Three primaries with a third of the slots each; `replicas` more for each of them."""

    def __init__(self, directory: Path, *, replicas: int = 0, coverage: str = "no") -> None:
        options = (
            "cluster-enabled yes",
            "cluster-config-file nodes.conf",
            f"cluster-node-timeout {int(scaled(1) * 1000)}",
            f"cluster-require-full-coverage {coverage}",
            "repl-diskless-sync-delay 0",
        )
        self.nodes = [RedisServer(directory, *options) for _ in range(3)]
        self.replicas = [RedisServer(directory, *options) for _ in range(3 * replicas)]

    @property
    def url(self) -> str:
        """The value of REDIS_URL."""
        return f"redis+cluster://{','.join(f'127.0.0.1:{one.port}' for one in self.nodes)}"

    async def start(self) -> None:
        """Start all, give each primary its slots, and wait until every node agrees."""
        servers = [*self.nodes, *self.replicas]
        await asyncio.gather(*[one.start() for one in servers])
        bounds = [round(SLOTS * number / 3) for number in range(4)]
        for number, node in enumerate(self.nodes):
            await node.ask("CLUSTER", "ADDSLOTSRANGE", bounds[number], bounds[number + 1] - 1)
            await node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for other in servers[1:]:
            await self.nodes[0].ask("CLUSTER", "MEET", "127.0.0.1", other.port)
        await until(self.is_whole)
        ids = [await node.ask("CLUSTER", "MYID") for node in self.nodes]
        for number, replica in enumerate(self.replicas):
            await replica.ask("CLUSTER", "REPLICATE", ids[number % 3])
        await until(self.is_replicated)

    async def is_whole(self) -> bool:
        """Tell whether every node knows of all others and of all slots."""
        servers = (*self.nodes, *self.replicas)
        for node in servers:
            state = await node.ask("CLUSTER", "INFO")
            fields = state if isinstance(state, dict) else _parse_rows(state)
            if (fields["cluster_state"], int(fields["cluster_known_nodes"])) != ("ok", len(servers)):
                return False
        return True

    async def is_replicated(self) -> bool:
        """Tell whether all replicas are in step."""
        return all([await is_replica_in_step(one) for one in self.replicas])

    async def revive(self, node: RedisServer) -> None:
        """Start a node that was killed, and wait until all agree again that it is there."""
        await node.start()
        await until(self.is_whole)

    async def node_of(self, key: str) -> RedisServer:
        """Return the primary that has a key."""
        slot = int(await self.nodes[0].ask("CLUSTER", "KEYSLOT", key))
        return self.nodes[next(n for n in range(3) if slot < round(SLOTS * (n + 1) / 3))]

    def stop(self) -> None:
        """End all of it."""
        for one in (*self.nodes, *self.replicas):
            one.kill()


def _parse_rows(text: bytes | str) -> dict[str, str]:
    lines = (text.decode() if isinstance(text, bytes) else text).splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)
