"""Small HTTP errands for tools: is it up, ask the sandbox's admin API."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import aiohttp


async def is_up(url: str) -> bool:
    """Tell whether a GET of `url` answers 200."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session,
            session.get(url) as response,
        ):
            return response.status == HTTPStatus.OK
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False


async def post_json(url: str, body: dict[str, Any], *, user: str, password: str) -> dict[str, Any]:
    """Post `body` with Basic credentials; returns the JSON object. Raises aiohttp.ClientError for what is no 2xx."""
    async with (
        aiohttp.ClientSession(headers={"Authorization": aiohttp.encode_basic_auth(user, password)}) as session,
        session.post(url, json=body, raise_for_status=True) as response,
    ):
        answer: dict[str, Any] = await response.json()
        return answer
