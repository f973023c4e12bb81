"""`python -m router dev`: the sandbox and all processes of the Procfile on this machine, on embedded defaults.

Redis is REDIS_URL or an embedded server. Each process can be killed, and is started again. Once all are up, dev.env is
written for other programs, sample events are played, and every entry that arrives is printed until Ctrl-C.
"""

from __future__ import annotations

import asyncio
import fcntl
from contextlib import AsyncExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Final

from router.console.users import users_path
from router.core.errors import SettingsError
from router.dev.answers import AnswerReader
from router.dev.console import make_dev_link, write_dev_users
from router.dev.demo import Demo
from router.dev.environment import DevOptions, make_environment, write_dev_env
from router.dev.external import ask_external
from router.dev.feed import Feed
from router.dev.follow import Follower, LogTails, OwnLog
from router.dev.known import Known
from router.dev.layout import LineLayout
from router.dev.memory import REDIS_FOLDER, Keep, choose_embedded, choose_external
from router.dev.processes import StartError, find_handlers, start_all
from router.logs import setup
from router.operations.sealing import find_unopened
from router.process.loop import until_stopped_or
from router.process.output import set_up_log
from router.process.supervisor import Supervisor
from router.process.terminal import complain, own_program, show
from router.settings.check_files import check_files
from router.settings.environment import child_environment, own_environment
from router.settings.load import load
from router.settings.team_file import load_team
from router.streams.client.connection import RedisError, connect
from router.streams.client.embedded import ServerStartError, start_embedded
from router.streams.store.partitions import ensure_partitions
from router.tasks import end

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from pathlib import Path

    from router.settings.model import Settings
    from router.streams.client.connection import Redis

#: Seconds after the demo for what still comes of it: the last answer, what the consumers log.
_LAST_WORDS: Final = 1.0
#: Lines of each process's output that are shown if one does not start.
_LAST_LINES: Final = 5


async def run_dev(arguments: argparse.Namespace) -> int:
    """Run everything until Ctrl-C, or with `--once` until the demo is over; returns 0, or 1 if something failed."""
    options = DevOptions(
        port=arguments.port,
        sandbox_port=arguments.sandbox_port,
        console_port=arguments.console_port,
        redis_url=arguments.redis_url,
        state_dir=arguments.state_dir,
        keep=Keep(arguments.keep),
        has_demo=not arguments.no_demo,
        is_once=arguments.once,
        is_verbose=arguments.verbose,
    )
    set_up_log(process="dev", log_format="text", level="warning")
    options.state_dir.mkdir(parents=True, exist_ok=True)
    (options.state_dir / "log").mkdir(exist_ok=True)
    tails = LogTails(options.state_dir / "log")
    async with AsyncExitStack() as stack:
        stack.enter_context(_locked(options.state_dir))
        try:
            return await until_stopped_or(_run(options, stack, tails)) or 0
        except ServerStartError as error:
            complain("", str(error))
            return 1
        except StartError as error:
            complain("", f"{error}; the logs are in {options.state_dir / 'log'}")
            for name, lines in tails.last_lines(_LAST_LINES).items():
                complain(*(f"  {name}: {line}" for line in dict.fromkeys(lines)))
            return 1


@contextmanager
def _locked(state_dir: Path) -> Iterator[None]:
    """Hold the lock of the state directory: two servers would corrupt its append-only file."""
    with (state_dir / "lock").open("w", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise SettingsError([f"--state-dir: another dev is running in {state_dir}"]) from error
        yield


async def _run(options: DevOptions, stack: AsyncExitStack, tails: LogTails) -> int:
    environment = make_environment(options)
    check_files(load(environment=child_environment(environment | {"REDIS_URL": ""})))  # raises before anything starts
    memory = await _prepare_memory(options, environment)
    show("starting: ", end="")
    if environment["REDIS_URL"]:
        show("redis (external) ", end="")
    else:
        environment["REDIS_URL"] = await _start_redis(options, stack)
    settings = load(environment=child_environment(environment))
    supervisor = await stack.enter_async_context(
        Supervisor(grace=settings.grace + 2, log_dir=options.state_dir / "log")
    )
    redis = connect(environment["REDIS_URL"])
    stack.push_async_callback(redis.aclose)
    with suppress(RedisError, OSError):  # an outage is found by the processes
        await ensure_partitions(redis, settings.keys)  # once, before each process is refused
    team = load_team(settings.config_dir)
    write_dev_users(users_path(settings), environment["ROUTER_CONSOLE_TOKEN"], team.members)
    handlers = await find_handlers(environment)
    await start_all(options, supervisor, redis, environment, settings.keys, handlers, memory=memory)
    known, layout = Known(), LineLayout.of_output(is_verbose=options.is_verbose)
    feed = Feed(layout, known)
    demo = Demo(environment, redis, settings.keys, team=team, say=feed.add, sealer=settings.sealer)
    follower = Follower(
        redis,
        settings.keys,
        feed,
        sealer=settings.sealer,
        known=known,
        answers=AnswerReader(known, environment),
        tails=tails,
        on_entry=demo.take,
    )
    await follower.prepare()
    signs, *others = layout.legend()
    show("", *_describe(environment, options), f"  signs     {signs}", *(f"            {one}" for one in others))
    await _show_console(redis, settings)
    write_dev_env(options.state_dir / "dev.env", environment)  # from here on nothing that happens is missed
    setup(process="dev", log_format="json", level="warning", stream=OwnLog(feed))
    try:
        return await _follow(options, supervisor, follower, demo, feed)
    finally:
        feed.flush()
        set_up_log(process="dev", log_format="text", level="warning")
        show("stopping")


async def _show_console(redis: Redis, settings: Settings) -> None:
    """Print the link that signs in, and which data cannot be opened."""
    with suppress(RedisError, OSError):
        link = await make_dev_link(redis, settings)
        show(f"  console   {link}", unmasked=True)
        unopened = await find_unopened(redis, settings.keys, settings.sealer)
        show(*(f"  WARNING   {stream}: {problem}; events wait for it" for stream, problem in unopened.items()))
    show("")


async def _follow(options: DevOptions, supervisor: Supervisor, follower: Follower, demo: Demo, feed: Feed) -> int:
    """Show what happens while the demo plays and afterwards, until canceled or a process cannot be kept running."""
    following = asyncio.create_task(follower.run())
    failing = asyncio.create_task(supervisor.failed())
    playing = asyncio.create_task(demo.play()) if options.has_demo or options.is_once else None
    ends = {failing, following}
    try:
        if playing is not None:
            await asyncio.wait({*ends, playing}, return_when=asyncio.FIRST_COMPLETED)
        if playing is not None and playing.done():
            has_arrived = playing.result()
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED, timeout=_LAST_WORDS)
            feed.flush()
            show(*demo.summary(own_program(), options.state_dir), unmasked=True)
            if options.is_once:
                return 0 if has_arrived and not failing.done() else 1
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if following.done():
            following.result()  # raises: there is no terminal left, for one
        return 1
    finally:
        if failing.done():
            complain(supervisor.failure)
        await end(following, failing, *([playing] if playing else []))


async def _prepare_memory(options: DevOptions, environment: dict[str, str]) -> Path:
    """Return the sandbox's file, and say whether earlier runs are remembered; an external Redis is asked first."""
    account = environment["TWILIO_ACCOUNT_SID"]
    url = environment["REDIS_URL"] = options.redis_url or own_environment().get("REDIS_URL", "")
    if url:
        settings = load(environment=child_environment(environment))
        has_data = await ask_external(url, settings.keys)
        path, note = choose_external(
            options.state_dir, account, options.keep, url=url, namespace=settings.namespace, has_data=has_data
        )
    else:
        path, note = choose_embedded(options.state_dir, account, options.keep)
    if note:
        show(note)
    return path


async def _start_redis(options: DevOptions, stack: AsyncExitStack) -> str:
    server = await start_embedded(options.state_dir / REDIS_FOLDER)
    stack.push_async_callback(server.stop)
    show("redis (embedded) ", end="")
    return server.url


def _describe(environment: dict[str, str], options: DevOptions) -> list[str]:
    rows = (
        ("receiver", environment["ROUTER_URL"] + "/webhooks/..."),
        ("metrics", environment["ROUTER_URL"] + "/metrics"),
        ("sandbox", environment["TWILIO_CONVERSATIONS_URL"] + "/v2/Conversations"),
        ("redis", environment["REDIS_URL"]),
        ("settings", f"{options.state_dir / 'dev.env'} (for other programs), logs in {options.state_dir / 'log'}"),
    )
    return [f"  {name:<9} {value}" for name, value in rows]
