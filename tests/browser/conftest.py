"""One server, one browser, and all scenes of the page played once; the tests look at what was seen.

Skipped, with the reason, without a ComfyUI checkout, Node.js, playwright-core or a Chromium. Takes about a minute.
"""

import copy
import dataclasses
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from handrawer.hand.library import dump_pose, library
from handrawer.hand.poser import PoserState, dump_state
from tests.browser.cases import states
from tests.browser.tools import chromium, need_playwright, node
from tests.conftest import checkout
from tests.host.server import ROOT, HostError, Server, install, python
from tests.host.workflows import distinct, models_of

LIMIT = 600  # seconds for all scenes
BEHIND = (640, 448)  # size of a picture to pose over
SHIPPED = sorted((ROOT / "workflows").glob("*.json"))
FILES = distinct([*SHIPPED, *sorted((ROOT / "tests" / "host" / "released").glob("*/*.json"))])
POSE = dump_pose(dataclasses.replace(library()["scout"], name="brought_in", title="Brought in"))


def named(file: Path) -> str:
    """workflows/NAME, or VERSION/NAME."""
    return f"{file.parent.name}/{file.stem}"


def graphs() -> dict[str, dict]:
    return {named(file): json.loads(file.read_text(encoding="utf-8")) for file in FILES}


def with_a_stranger(graph: dict) -> dict:
    """A workflow with a node that no host has."""
    broken = copy.deepcopy(graph)
    broken["nodes"][-1]["type"] = "HanDrawerGone"
    return broken


def scene(seen: dict, name: str) -> dict:
    """What a scene saw; it must have come to its end, and the page must not have complained."""
    found = seen[name]
    assert "error" not in found, found["error"]
    assert not found["complaints"], found["complaints"]
    return found


def posed() -> list[dict]:
    """Six single hands of both sides and two in one picture, in pictures of several shapes."""
    hands = states()
    sizes = [(512, 512), (768, 512), (512, 768), (512, 512), (640, 480), (512, 512)]
    found = [
        {"text": dump_state(PoserState(*size, (hand,))), "width": size[0], "height": size[1]}
        for hand, size in zip(hands, sizes, strict=False)
    ]
    both = dump_state(PoserState(512, 512, (hands[0], hands[1])))
    return [*found, {"text": both, "width": 768, "height": 448}]  # placed: another shape than it was posed in


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    chromium()  # what is missing is said before a server starts
    need_playwright()
    place = checkout()
    if place is None:
        pytest.skip("no ComfyUI checkout: set COMFYUI_PATH, or clone ComfyUI to ~/ComfyUI")
    base = tmp_path_factory.mktemp("page") / "base"
    install(base)
    Image.new("RGB", BEHIND, (120, 140, 110)).save(base / "input" / "behind.png")
    for model in (model for file in FILES for model in models_of(file)):  # stand-ins: the page looks for names alone
        (base / "models" / model["directory"]).mkdir(parents=True, exist_ok=True)
        (base / "models" / model["directory"] / model["name"]).touch()
    try:
        server = Server(place, base)
    except HostError as error:
        pytest.skip(f"{place} does not start with {python()}, set COMFYUI_PYTHON: {str(error).splitlines()[-1]}")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What each scene of scenes.mjs saw, by its name."""
    browser, playwright = chromium(), need_playwright()
    host = request.getfixturevalue("host")  # last: it takes longest
    workflows = graphs()
    shots = os.environ.get("HANDRAWER_SHOTS") or str(tmp_path_factory.mktemp("shots"))
    task = {
        "address": f"http://{host.address}",
        "browser": browser,
        "playwright": playwright,
        "states": posed(),
        "workflows": workflows,
        "broken": with_a_stranger(workflows[named(SHIPPED[0])]),
        "pose": POSE,
        "shots": shots,
    }
    done = subprocess.run(
        [node(), str(Path(__file__).with_name("page.mjs"))],
        input=json.dumps(task), capture_output=True, text=True, timeout=LIMIT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)
