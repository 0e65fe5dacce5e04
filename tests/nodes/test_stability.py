"""What a release's nodes were, they stay: its saved workflows go on loading, on the canvas and through the API.

A saved canvas holds a node's id, its widgets' values by their order, and its outputs by their number; the API holds
inputs by their name. So nothing of released/VERSION.json (scripts/freeze_nodes.py) may go, or change its type or place;
what is new comes last and may be left out.
"""

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.nodes.signatures import script

NEW = {"name": "new", "type": "INT", "required": False}
ROOT = Path(__file__).resolve().parents[2]
RELEASED = sorted((Path(__file__).parent / "released").glob("*.json"))


def kinds(entry: dict[str, Any]) -> set[str]:
    """Types that go into an input: 'BBOX,BOUNDING_BOX' takes two."""
    return set(entry["type"].split(","))


def broken_input(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    if not kinds(old) <= kinds(new):
        yield f"takes {new['type']} where it took {old['type']}"
    if new["required"] and not old["required"]:
        yield "must be given now"
    gone = [option for option in old.get("options", ()) if option not in new.get("options", ())]
    if gone:
        yield f"lacks the choices {gone}"
    if old.get("default") != new.get("default"):
        yield f"has the default {new.get('default')!r}, which was {old.get('default')!r}"
    if new.get("min", old.get("min")) != old.get("min") and new["min"] > old.get("min", -float("inf")):
        yield f"begins at {new['min']}"
    if new.get("max", old.get("max")) != old.get("max") and new["max"] < old.get("max", float("inf")):
        yield f"ends at {new['max']}"


def broken(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    """What workflows saved with the old nodes would stumble over in the new ones."""
    for node, was in old.items():
        if node not in new:
            yield f"{node} is gone"
            continue
        now = new[node]
        for part, name in (("inputs", "name"), ("outputs", "id")):
            before, after = [e[name] for e in was[part]], [e[name] for e in now[part]]
            if after[: len(before)] != before:
                yield f"{node}: {part} were {before}, are {after}"
        inputs = {entry["name"]: entry for entry in now["inputs"]}
        for entry in was["inputs"]:
            found = broken_input(entry, inputs[entry["name"]]) if entry["name"] in inputs else ()
            yield from (f"{node}.{entry['name']} {fault}" for fault in found)
        for entry in now["inputs"][len(was["inputs"]) :]:
            if entry["required"]:
                yield f"{node}.{entry['name']} is new and must be given"
        for before, after in zip(was["outputs"], now["outputs"], strict=False):
            if (before["type"], before["list"]) != (after["type"], after["list"]):
                yield f"{node}: output {before['id']} gives {after['type']}, gave {before['type']}"


@pytest.fixture(scope="module")
def present(plugin) -> dict[str, Any]:
    """The nodes as they are now, once through JSON."""
    infos = script("node_infos").describe(plugin)
    return json.loads(json.dumps(script("freeze_nodes").signatures(infos)))


@pytest.mark.parametrize("path", RELEASED, ids=lambda path: path.stem)
def test_workflows_of_a_release_find_their_nodes(present, path):
    assert list(broken(json.loads(path.read_text(encoding="utf-8")), present)) == []


def test_every_release_since_0_2_0_is_kept():
    """The present version, too: scripts/freeze_nodes.py VERSION writes it down."""
    (present_version,) = re.findall(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    versions = [path.stem for path in RELEASED]
    assert {"0.2.0", "0.3.0", "0.4.0", "0.4.1", "0.4.2", present_version} <= set(versions)


def test_workflows_are_kept_beside_the_nodes(tmp_path):
    kept = script("freeze_nodes").keep_workflows(ROOT / "workflows", tmp_path / "0.9.0")
    assert [file.name for file in kept] == sorted(file.name for file in (ROOT / "workflows").glob("*.json"))
    assert all(file.read_bytes() == (ROOT / "workflows" / file.name).read_bytes() for file in kept)
    with pytest.raises(FileExistsError):
        script("freeze_nodes").keep_workflows(ROOT / "workflows", tmp_path / "0.9.0")


def test_the_files_hold_what_the_script_writes(present):
    """Laid out line by line, and nothing is lost by it."""
    assert json.loads(script("freeze_nodes").to_text(present)) == present
    for path in RELEASED:
        text = path.read_text(encoding="utf-8")
        assert script("freeze_nodes").to_text(json.loads(text)) == text


def test_what_is_appended_breaks_nothing(present):
    later = copy.deepcopy(present)
    later["HanDrawerNew"] = {"inputs": [], "outputs": []}
    later["HanDrawerPlaceHands"]["inputs"].append({"name": "new", "type": "INT", "required": False, "default": 0})
    later["HanDrawerPlaceHands"]["outputs"].append({"id": "new_out", "name": "new", "type": "INT", "list": False})
    later["HanDrawerGesture"]["inputs"][0]["options"].append("new")
    assert list(broken(present, later)) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda nodes: nodes.pop("HanDrawerGesture"), "is gone"),
        (lambda nodes: nodes["HanDrawerGesture"]["inputs"].pop(2), "inputs were"),
        (lambda nodes: nodes["HanDrawerGesture"]["inputs"].reverse(), "inputs were"),
        (lambda nodes: nodes["HanDrawerGesture"]["inputs"].insert(2, NEW),
         "inputs were"),
        (lambda nodes: nodes["HanDrawerGesture"]["inputs"][2].update(type="STRING"), "takes STRING"),
        (lambda nodes: nodes["HanDrawerGesture"]["inputs"][2].update(default=0.25), "has the default"),
        (lambda nodes: nodes["HanDrawerGesture"]["inputs"][2].update(max=0.5), "ends at"),
        (lambda nodes: nodes["HanDrawerGesture"]["inputs"][0]["options"].remove("peace"), "lacks the choices"),
        (lambda nodes: nodes["HanDrawerGesture"]["inputs"].append({**NEW, "required": True}),
         "must be given"),
        (lambda nodes: nodes["HanDrawerApply"]["inputs"][-1].update(required=True), "must be given now"),
        (lambda nodes: nodes["HanDrawerRenderHands"]["outputs"].reverse(), "outputs were"),
        (lambda nodes: nodes["HanDrawerRenderHands"]["outputs"].pop(), "outputs were"),
        (lambda nodes: nodes["HanDrawerRenderHands"]["outputs"][4].update(type="IMAGE"), "gives IMAGE, gave MASK"),
        (lambda nodes: nodes["HanDrawerRenderHands"]["outputs"][0].update(list=True), "gives IMAGE"),
    ],
)  # fmt: skip
def test_a_change_that_breaks_workflows_is_seen(present, change, said):
    later = copy.deepcopy(present)
    change(later)
    found = list(broken(present, later))
    assert found and any(said in fault for fault in found), found
