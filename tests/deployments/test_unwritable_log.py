"""A log that cannot be written: every process of a deployment starts, works and stops as if it could be."""

from __future__ import annotations

import asyncio
import fcntl
import os
from contextlib import contextmanager, suppress

import aiohttp
import pytest
from yarl import URL

from router.core.keys import Target
from router.simulator.messages import message
from router.streams.client.embedded import free_port
from router.streams.store.inspect import has_consumer
from tests.harness.deployment import GROUPS, Deployment
from tests.harness.processes import spawn
from tests.harness.sandbox import running_sandbox
from tests.harness.settings import COMMANDS, make_environment, quick_recovery, write_config
from tests.receiver.samples import signed
from tests.support.accounts import ACCOUNT, AGENT, OURS
from tests.support.waiting import until

pytestmark = [pytest.mark.processes, pytest.mark.real]
CUSTOMERS = 40
#: A program that closes its standard output and becomes the project's process.
WITHOUT_OUTPUT = "import os, sys; os.close(1); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"


@contextmanager
def full_disk():
    """A file on a disk without room."""
    file = os.open("/dev/full", os.O_WRONLY)
    try:
        yield file
    finally:
        os.close(file)


@contextmanager
def gone_reader():
    """A pipe that nobody reads any more."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        yield writer
    finally:
        os.close(writer)


@contextmanager
def stalled_reader():
    """A pipe whose reader does not read; it is full after a few lines."""
    reader, writer = os.pipe()
    with suppress(AttributeError, OSError):  # where the size cannot be set, a pipe holds a few hundred lines
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, b"\n" * 512)
    os.set_blocking(writer, True)
    try:
        yield writer
    finally:
        for end in (reader, writer):
            os.close(end)


@contextmanager
def closed():
    """No standard output at all."""
    yield None


OUTPUTS = {"full disk": full_disk, "reader gone": gone_reader, "reader stalled": stalled_reader, "closed": closed}


async def start(directory, role, environment, output):
    """Start a process of the deployment with this standard output."""
    arguments = ["-m", *COMMANDS[role]]
    if output is None:
        arguments = ["-c", WITHOUT_OUTPUT, *arguments]
        output = os.dup(2)
    return await spawn(directory / f"{role}.err", *arguments, environment=environment, standard_output=output)


async def answer(session, url):
    """Return status and text, (0, "") while nobody listens."""
    try:
        async with session.get(url) as response:
            return response.status, await response.text()
    except aiohttp.ClientError:
        return 0, ""


async def send(session, url, number):
    """Send a first message of a customer, and return the status of the answer."""
    sender, sid = f"+1555{number:07d}", f"SM{number:032x}"
    request = signed(message("sms", account_sid=ACCOUNT, sender=sender, recipient=OURS, body="hi", sid=sid))
    async with session.post(
        URL(url + request.path, encoded=True), data=request.body, headers=request.headers()
    ) as response:
        return response.status


@pytest.mark.parametrize("make_output", OUTPUTS.values(), ids=OUTPUTS)
async def test_a_deployment_works_whatever_becomes_of_its_log(tmp_path, redis, redis_url, make_output):
    """Every webhook is answered 200, every customer announced and joined; SIGTERM ends each process with status 0."""
    url = f"http://127.0.0.1:{free_port()}"
    async with running_sandbox() as sandbox, aiohttp.ClientSession() as session:
        deployment = Deployment(redis, sandbox)
        environment = make_environment(
            redis_url,
            sandbox.url,
            PORT=url.rpartition(":")[2],
            ROUTER_CONFIG_DIR=str(write_config(tmp_path, "dana")),
            ROUTER_AI_AGENT_ADDRESS=AGENT,
            **quick_recovery(),
        )
        with make_output() as output:
            processes = [await start(tmp_path, role, environment, output) for role in COMMANDS]
            try:
                await until(lambda: _is_up(session, url, deployment))
                statuses = await asyncio.gather(*[send(session, url, number) for number in range(CUSTOMERS)])
                assert set(statuses) == {200}
                await until(lambda: redis.xlen(deployment.keys.participants(0, Target.AI_AGENT)))
                await deployment.until_idle()
                assert len(await sandbox.conversations()) == CUSTOMERS
                _, metrics = await answer(session, f"{url}/metrics")
                is_dropped = "router_log_lines_dropped_total 0.0" not in metrics
                assert is_dropped is (make_output is not stalled_reader)  # that reader may still read
                assert [await process.stop() for process in processes] == [0] * len(processes)
                assert [process.text for process in processes] == [""] * len(processes)
            finally:
                for process in processes:
                    await process.kill()


async def _is_up(session, url, deployment):
    status, _ = await answer(session, f"{url}/readyz")
    redis, keys = deployment.redis, deployment.keys
    return status == 200 and all([await has_consumer(redis, keys, stream, group) for stream, group in GROUPS])
