"""An external Redis is asked before `dev` starts anything: whether it answers, is new enough, and takes writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.logs import describe_fully
from router.process.terminal import CommandFailedError
from router.streams.client.connection import RedisError, connect, load_script, run_all
from router.streams.client.servers import find_age_problem

if TYPE_CHECKING:
    from router.core.keys import Keys

#: Seconds for each answer.
_PATIENCE: Final = 3.0
#: The data has another number of partitions: that is said with what to do about it (streams.store.partitions).
_FENCED: Final = "FENCED"
_RUNNING: Final = "is it running, and is REDIS_URL right?"


async def ask_external(url: str, keys: Keys) -> bool:
    """Return whether Redis has data of a namespace; raises CommandFailedError if it cannot be used as it is."""
    redis = connect(url, timeout=_PATIENCE)
    try:
        if problem := await find_age_problem(redis):
            raise CommandFailedError(f"Redis (REDIS_URL): {problem}")
        calls = [([keys.fence(one), keys.probe(one)], [keys.partitions]) for one in range(keys.partitions)]
        for result in await run_all(redis, load_script("can_append"), calls):
            if isinstance(result, Exception) and not str(result).startswith(_FENCED):
                raise CommandFailedError(f"Redis (REDIS_URL) takes no writes: {describe_fully(result)}")
        return bool(await redis.exists(keys.layout()))
    except (RedisError, OSError) as error:
        raise CommandFailedError(f"Redis (REDIS_URL) cannot be used: {describe_fully(error)}; {_RUNNING}") from error
    finally:
        await redis.aclose()
