"""A workflow as nodes and groups, and as the page's own JSON."""

from __future__ import annotations

import json
import uuid
from dataclasses import asdict, dataclass, field

WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
NAMESPACE = uuid.UUID("6f1d1c0e-5a53-4d0e-9d3a-6a3f4f2d7c11")  # ids depend on the file's name alone
NEWER = 50  # pixels by which the newer renderer draws a note higher than its size
EDGE = 30  # pixels between a frame and the nodes in it
CONTROLLED = ("seed", "noise_seed")  # the page adds a widget behind these: what happens to it after each run


@dataclass
class Node:
    """One node on the canvas: its inputs are values, or (node's name, number of its output)."""

    kind: str
    at: tuple[int, int]
    size: tuple[int, int]
    inputs: dict = field(default_factory=dict)
    title: str | None = None
    text: str | None = None  # of a note
    colour: str | None = None
    models: tuple[Model, ...] = ()


@dataclass(frozen=True)
class Model:
    """A file that a node needs, and where it can be had."""

    name: str
    url: str
    directory: str


@dataclass
class Group:
    title: str
    box: tuple[int, int, int, int]
    colour: str


@dataclass
class Workflow:
    """One file.

    Attributes:
        nodes: by a name of their own.
        groups: frames behind them.
        panels: what the thumbnail shows: a node's name, or (name, number of the picture), and the caption.
        runs: whether it runs with nothing downloaded.
        inset: where the first of two panels lies in the other.
    """

    nodes: dict[str, Node]
    groups: list[Group]
    panels: dict[str | tuple[str, int], str]
    runs: bool = True
    inset: str = "lower left"


def note(text: str, at: tuple[int, int], size: tuple[int, int] = (660, 210)) -> Node:
    return Node("MarkdownNote", at, size, text=text, colour="#432")


def input_definitions(info: dict) -> list[tuple[str, str]]:
    """(name, type) of every input in the node's own order; a list of choices is a COMBO."""
    found = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
    return [(name, "COMBO" if isinstance(spec[0], list) else spec[0]) for name, spec in found.items()]


def make_room(workflow: Workflow) -> None:
    """Frames grow round their nodes as the page draws them, and what lies below moves down: nothing overlaps."""
    nodes, groups = workflow.nodes, workflow.groups

    def frame_of(node: Node) -> Group | None:
        x, y = node.at
        frames = (g for g in groups if g.box[0] <= x < g.box[0] + g.box[2] and g.box[1] <= y < g.box[1] + g.box[3])
        return next(frames, None)

    frames = {key: frame_of(node) for key, node in nodes.items()}

    def lower(below: int, by: int) -> None:
        moved = [group for group in groups if group.box[1] >= below]
        for key, node in nodes.items():
            frame = frames[key]
            if node.at[1] >= below if frame is None else any(frame is group for group in moved):
                node.at = (node.at[0], node.at[1] + by)
        for group in moved:
            group.box = (group.box[0], group.box[1] + by, *group.box[2:])

    for note_ in [node for node in nodes.values() if node.text is not None]:
        under = [group.box[1] for group in groups if group.box[1] > note_.at[1]]
        missing = note_.at[1] + note_.size[1] + NEWER - min(under, default=10**6)
        if missing > 0:
            lower(min(under), missing)
    for group in sorted(groups, key=lambda group: group.box[1]):
        x, y, width, height = group.box
        inside = [node for key, node in nodes.items() if frames[key] is group]
        missing = max((n.at[1] + n.size[1] for n in inside), default=0) + EDGE - (y + height)
        if missing > 0:
            lower(y + height, missing)
            group.box = (x, y, width, height + missing)


def build(name: str, workflow: Workflow, infos: dict) -> dict:
    """A workflow in the page's own format.

    Raises:
        ValueError: a node is unknown to the host, or lacks an input.
    """
    make_room(workflow)
    nodes, groups = workflow.nodes, workflow.groups
    ids = {key: number for number, key in enumerate(nodes, 1)}
    links: list[list] = []
    entries = [entry(ids[key], node, infos) for key, node in nodes.items()]
    by_id = {e["id"]: e for e in entries}
    for key, node in nodes.items():
        sockets = by_id[ids[key]]["inputs"]
        for slot, socket in enumerate(sockets):
            given = node.inputs.get(socket["name"])
            if not isinstance(given, tuple):
                continue
            source, output = by_id[ids[given[0]]], given[1]
            links.append([len(links) + 1, source["id"], output, ids[key], slot, socket["type"]])
            socket["link"] = len(links)
            source["outputs"][output]["links"].append(len(links))
    return {
        "id": str(uuid.uuid5(NAMESPACE, name)),
        "revision": 0,
        "last_node_id": len(nodes),
        "last_link_id": len(links),
        "nodes": entries,
        "links": links,
        "groups": [
            {"id": i, "title": g.title, "bounding": list(g.box), "color": g.colour, "font_size": 24, "flags": {}}
            for i, g in enumerate(groups, 1)
        ],
        "config": {},
        "extra": {"ds": {"scale": 0.6, "offset": [60, 80]}},
        "version": 0.4,
    }


def default_of(info: dict, name: str):
    """What the page puts into an optional input that the workflow does not speak of."""
    kind, options = next((*group[name], {})[:2] for group in info["input"].values() if name in group)
    if "default" in options:
        return options["default"]
    choices = options.get("options", kind)
    return choices[0] if isinstance(choices, list) else ""


def controlled(info: dict, name: str) -> bool:
    """Whether the page adds a widget behind this one: what happens to the seed after each run."""
    options = next((*group[name], {})[1] for group in info["input"].values() if name in group)
    return bool(options.get("control_after_generate", name in CONTROLLED)) if name in CONTROLLED else False


def entry(number: int, node: Node, infos: dict) -> dict:
    """One node without its links."""
    common = {
        "id": number,
        "type": node.kind,
        "pos": list(node.at),
        "size": list(node.size),
        "flags": {},
        "order": number - 1,
        "mode": 0,
    }
    if node.title:
        common["title"] = node.title
    if node.colour:
        common |= {"color": node.colour, "bgcolor": node.colour}
    if node.text is not None:
        return {**common, "inputs": [], "outputs": [], "properties": {}, "widgets_values": [node.text]}
    if node.kind not in infos:
        raise ValueError(f"The host has no node {node.kind!r}.")
    info = infos[node.kind]
    definitions = input_definitions(info)
    unknown = set(node.inputs) - {name for name, _ in definitions}
    missing = set(info["input"].get("required", {})) - set(node.inputs)
    if unknown or missing:
        raise ValueError(f"{node.kind} has other inputs: unknown {sorted(unknown)}, missing {sorted(missing)}.")
    values = []
    for name, kind in definitions:
        if kind in WIDGETS:
            values.append(node.inputs[name] if name in node.inputs else default_of(info, name))
            if controlled(info, name):
                values.append("fixed")
    return {
        **common,
        "inputs": [{"name": name, "type": kind, "link": None} for name, kind in definitions if kind not in WIDGETS],
        "outputs": [
            {"name": name, "type": kind, "links": [], "slot_index": slot}
            for slot, (name, kind) in enumerate(zip(info["output_name"], info["output"], strict=True))
        ],
        "properties": {"Node name for S&R": node.kind}
        | ({"models": [asdict(model) for model in node.models]} if node.models else {}),
        "widgets_values": values,
    }


def api_format(nodes: dict[str, Node], only: set[str] | None = None) -> dict:
    """The workflow as the host runs it; ``only``: those nodes and what they need."""
    prompt = {}
    wanted = set(nodes) if only is None else needed(nodes, only)
    for key, node in nodes.items():
        if node.text is None and key in wanted:
            inputs = {name: list(v) if isinstance(v, tuple) else v for name, v in node.inputs.items()}
            prompt[key] = {"class_type": node.kind, "inputs": inputs}
    return prompt


def needed(nodes: dict[str, Node], keys: set[str]) -> set[str]:
    """These nodes and all that lie before them."""
    found, new = set(), set(keys)
    while new:
        found |= new
        new = {v[0] for key in new for v in nodes[key].inputs.values() if isinstance(v, tuple)} - found
    return found


def to_text(content: dict) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
