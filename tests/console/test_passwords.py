"""Passwords: hashes, their comparison, and that it neither stalls the loop nor tells whether a user exists."""

import asyncio
import threading

import pytest

from router.console import passwords
from router.console.passwords import LONGEST, MOST_WAITING, NOBODY, N, P, R, is_full, is_hash, is_right, make_hash
from tests.support.waiting import until

PASSWORD = "correct horse battery"


async def test_a_hash_belongs_to_its_password():
    """The same password is right, any other is wrong, and two hashes of it differ."""
    first, second = make_hash(PASSWORD, n=4), make_hash(PASSWORD, n=4)
    assert first != second
    assert await is_right(PASSWORD, first)
    assert not await is_right(PASSWORD + " ", first)
    assert not await is_right("", first)
    assert await is_right("pässwörd 🔑", make_hash("pässwörd 🔑", n=4))
    assert not await is_right("\ud800", first)


async def test_a_missing_user_takes_the_same_work(monkeypatch):
    """Without a hash one with the same parameters is compared, and nothing is right, whatever it says."""
    seen = []

    def scrypt(password, salt, n, r, p):
        seen.append((n, r, p, len(salt)))
        return b"x" * 32

    monkeypatch.setattr(passwords, "_scrypt", scrypt)
    known = f"scrypt$n={N},r={R},p={P}${'A' * 22}==${'eHh4' * 10}eHg="
    assert is_hash(known)
    assert await is_right(PASSWORD, known)
    assert not await is_right(PASSWORD, None)
    assert seen == [(N, R, P, 16)] * 2
    assert is_hash(NOBODY)


async def test_what_is_too_long_is_wrong():
    """A megabyte of password is not hashed."""
    long = "x" * (LONGEST + 1)
    assert not await is_right(long, make_hash(long, n=4))
    assert await is_right(long[1:], make_hash(long[1:], n=4))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain text",
        "scrypt$n=3,r=8,p=1$AAAAAAAAAAAAAAAAAAAAAA==$" + "eHh4" * 10 + "eHg=",
        "scrypt$n=1,r=8,p=1$AAAAAAAAAAAAAAAAAAAAAA==$" + "eHh4" * 10 + "eHg=",
        "scrypt$n=4,r=0,p=1$AAAAAAAAAAAAAAAAAAAAAA==$" + "eHh4" * 10 + "eHg=",
        "scrypt$n=1048576,r=99,p=1$AAAAAAAAAAAAAAAAAAAAAA==$" + "eHh4" * 10 + "eHg=",
        "scrypt$n=4,r=8,p=1$AAAAAAAAAAAAAAAAAAAAA===$" + "eHh4" * 10 + "eHg=",
    ],
    ids=["empty", "text", "no power of two", "one", "no blocks", "too much memory", "no base64"],
)
async def test_what_is_no_hash(text):
    """A record that cannot be compared is refused when the file is read, and lets nobody in."""
    assert not is_hash(text)
    assert not await is_right("", text)
    assert not await is_right(PASSWORD, text)


async def test_comparing_does_not_stall_the_loop(monkeypatch):
    """While a password is compared in its thread the loop answers others, and a second one waits its turn."""
    release, running = threading.Event(), []

    def scrypt(password, *_):
        running.append(password)
        release.wait(30)
        return b"x" * 32

    monkeypatch.setattr(passwords, "_scrypt", scrypt)
    tasks = [asyncio.create_task(is_right(PASSWORD, None)) for _ in range(2)]
    try:
        for _ in range(1000):
            await asyncio.sleep(0)
        assert len(running) <= 1
    finally:
        release.set()
    assert await asyncio.gather(*tasks) == [False, False]
    assert len(running) == 2


async def test_comparisons_do_not_pile_up(monkeypatch):
    """The queue is full at its limit, counting the one that runs, and no longer once they are done or given up."""
    release = threading.Event()
    monkeypatch.setattr(passwords, "_scrypt", lambda *_: b"x" * 32 if release.wait(30) else b"")
    tasks = []
    try:
        for _ in range(MOST_WAITING):
            assert not is_full()
            tasks.append(asyncio.create_task(is_right(PASSWORD, None)))
            await asyncio.sleep(0)
        assert is_full()
        tasks.pop().cancel()
        await until(lambda: not is_full())
    finally:
        release.set()
    assert await asyncio.gather(*tasks) == [False] * (MOST_WAITING - 1)
    await until(lambda: not passwords._waiting)
