"""Workflow files and help pages in ComfyUI's own page."""

import json
from pathlib import Path

import pytest

from tests.browser.conftest import FILES, SHIPPED, named, scene
from tests.host.server import ROOT, Server
from tests.host.workflows import read_shipped

NODES = sorted(path.stem for path in (ROOT / "web" / "docs").glob("*.md"))


def ours(complaints: list[str]) -> list[str]:
    """The page itself asks model addresses for their size, which its own rules may block."""
    return [said for said in complaints if "handrawer" in said.lower()]


@pytest.mark.parametrize("file", FILES, ids=named)
def test_a_workflow_loads_as_it_was_saved(seen: dict, host: Server, file: Path):
    found = scene(seen, "workflows")["found"][named(file)]
    assert found["missing"] == [] and found["dialogs"] == [] and ours(found["complaints"]) == []
    for node in json.loads(file.read_text(encoding="utf-8"))["nodes"]:
        saved, shown = node.get("widgets_values", []), found["values"][str(node["id"])] or []
        assert shown[: len(saved)] == saved, node["type"]
    sent = {name: {key: entry[key] for key in ("class_type", "inputs")} for name, entry in found["api"].items()}
    assert sent == read_shipped(file, host.get("/object_info")), "what tests/host runs is what the page sends"


def test_a_missing_node_would_be_seen(seen: dict):
    broken = scene(seen, "workflows")["broken"]
    assert broken["missing"] == ["HanDrawerGone"]
    assert any("HanDrawerGone" in said or "missing" in said.lower() for said in broken["dialogs"]), broken["dialogs"]


@pytest.mark.parametrize("file", SHIPPED, ids=named)
def test_a_workflow_loads_in_the_newer_renderer(seen: dict, file: Path):
    found = scene(seen, "workflowsNewer")["found"][named(file)]
    assert found["missing"] == [] and found["dialogs"] == [] and ours(found["complaints"]) == []
    assert found["drawn"] == found["count"], "every node is drawn"
    assert found["api"] == seen["workflows"]["found"][named(file)]["api"], "both renderers send the same"


def test_every_node_has_a_help_page_with_its_picture(seen: dict, host: Server):
    found = scene(seen, "help")
    assert found["first"] == "Hand from Gesture", "opened as a person opens it"
    assert sorted(found["found"]) == NODES == sorted(name for name in host.get("/object_info") if name in NODES)
    for name, page in found["found"].items():
        assert page["pictures"] and min(page["pictures"]) > 200, name
        assert page["dead"] == [] and not page["raw"] and page["headings"], (name, page)
