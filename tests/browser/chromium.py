"""Chromium of the system as a process of its own, which a test can kill; playwright steers it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from tests.support.waiting import scaled, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
#: Without a window, without calls to its maker, and with the same letters on every machine.
OPTIONS: Final = (
    "--headless=new",
    "--remote-debugging-port=0",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-sync",
    "--font-render-hinting=none",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
    "--lang=en-US",
    "--no-first-run",
    "--no-pings",
    "--password-store=basic",
)
_LISTENING: Final = re.compile(r"DevTools listening on (ws://\S+)")


def find_chromium() -> str | None:
    """Return the path of the browser, None if there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Chromium:
    """A running browser; `url` is where playwright connects to."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process, self._log = process, log
        self.url = ""

    async def until_ready(self) -> None:
        """Wait until it can be steered."""
        self.url = await until(self._read_url, timeout=60)

    def _read_url(self) -> str:
        assert self._process.poll() is None, self._log.read_text(errors="replace")
        found = _LISTENING.search(self._log.read_text(errors="replace"))
        return found[1] if found else ""

    def kill(self) -> None:
        """End it at once with all its processes, as the system does with one that takes too much memory."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(timeout=scaled(30))


@contextmanager
def running_chromium(folder: Path) -> Iterator[Chromium]:
    """Run a browser with an empty profile in a folder while the block runs."""
    path = find_chromium()
    assert path is not None
    options = [*OPTIONS, f"--user-data-dir={folder / 'profile'}"]
    if os.geteuid() == 0:
        options.append("--no-sandbox")  # its sandbox refuses to be started by root
    log = folder / "chromium.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [path, *options, "about:blank"], stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    chromium = Chromium(process, log)
    try:
        yield chromium
    finally:
        chromium.kill()
