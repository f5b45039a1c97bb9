"""A headless Chromium that tells what a page wrote to the console."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
TIMEOUT_S = 120


class Seen(NamedTuple):
    """What came of opening a page."""

    dom: str
    """The page as it stands after its scripts ran."""
    console: list[str]
    """Messages, errors and violations of the content policy, one each."""


Open = Callable[[Path], Seen]


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Open:
    """Return a function that opens a file; skip where there is no Chromium."""
    program = os.environ.get("CLGKIT_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), "")
    if not program:
        pytest.skip("Chromium is not installed (looked for " + ", ".join(NAMES) + ")")
    profile = tmp_path_factory.mktemp("profile")

    def look(path: Path) -> Seen:
        finished = subprocess.run(
            [
                program,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                f"--user-data-dir={profile}",
                "--enable-logging=stderr",
                "--v=0",
                "--virtual-time-budget=2000",
                "--window-size=1300,2000",
                "--dump-dom",
                path.resolve().as_uri(),
            ],
            capture_output=True,
            text=True,
            check=True,
            timeout=TIMEOUT_S,
        )
        console = [line for line in finished.stderr.splitlines() if ":CONSOLE" in line]
        return Seen(finished.stdout, console)

    return look
