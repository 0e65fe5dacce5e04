"""Writes workflows/*.json, the templates that ComfyUI lists, and the thumbnails beside them.

    python scripts/make_workflows.py http://127.0.0.1:8188 [--thumbnails]

A running ComfyUI with this project in it is asked what inputs and outputs its nodes have, so that the files agree with
the nodes. For the thumbnails it runs the workflows. scripts/shoot_workflow.mjs opens a file in the real page.
"""

from __future__ import annotations

import argparse
import io
import json
import time
import urllib.request
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parents[1]
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
NAMESPACE = uuid.UUID("6f1d1c0e-5a53-4d0e-9d3a-6a3f4f2d7c11")  # ids depend on the file's name alone
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


@dataclass
class Group:
    title: str
    box: tuple[int, int, int, int]
    colour: str


NOTE = """## A photo steers a picture
1. **Run** it: nothing is downloaded. The hand of the example picture is found and drawn anew.
2. *Load Image* takes the example's place for a photo of your own; **hand** in *Place Hands* picks one of several.
3. Change prompt, seed or strength: only the sampling runs again.
4. The small model is a **demonstration**, trained on synthetic hands: 256 × 256, hands and nothing else.
5. Another model needs its own loader, a HanDrawer file made for it (*Load HanDrawer*), and its picture size."""

# It names the side and the looks, not the gesture: that comes from the photo.
PROMPT = "a right hand, light skin, blue sleeve, grey background, soft light"

PHOTO_TO_PICTURE = (
    {
        "note": Node("MarkdownNote", (400, 1180), (660, 210), text=NOTE, colour="#432"),
        "picture": Node("HanDrawerExamplePicture", (420, 100), (290, 90), {"picture": "hands.png"}),
        "estimate": Node(
            "HanDrawerEstimateHands",
            (420, 240),
            (290, 400),
            {"image": ("picture", 0), "max_hands": 4, "min_confidence": 0.5},
        ),
        "place": Node(
            "HanDrawerPlaceHands",
            (760, 100),
            (290, 250),
            {
                "hands": ("estimate", 0),
                "width": 256,
                "height": 256,
                "mode": "crop",
                "hand": 0,
                "margin": 0.2,
                "image": ("picture", 0),
            },
        ),
        "render": Node(
            "HanDrawerRenderHands",
            (1100, 100),
            (290, 190),
            {"hands": ("place", 0), "depth_range": "picture", "normal_colours": "bae", "image": ("place", 1)},
        ),
        "depth": Node("PreviewImage", (1440, 100), (300, 330), {"images": ("render", 0)}, "Depth of the hand"),
        "mini": Node("HanDrawerLoadMini", (420, 790), (290, 120)),
        "encode": Node(
            "HanDrawerEncodeHands", (760, 560), (290, 70), {"handrawer": ("mini", 3), "hands": ("place", 0)}
        ),
        "positive": Node("CLIPTextEncode", (760, 790), (290, 140), {"clip": ("mini", 1), "text": PROMPT}, "Prompt"),
        "negative": Node("CLIPTextEncode", (760, 970), (290, 90), {"clip": ("mini", 1), "text": ""}, "Negative prompt"),
        "apply": Node(
            "HanDrawerApply",
            (1100, 790),
            (250, 200),
            {
                "model": ("mini", 0),
                "features": ("encode", 0),
                "strength": 1.0,
                "start_percent": 0.0,
                "end_percent": 1.0,
                "positive": ("positive", 0),
                "negative": ("negative", 0),
            },
        ),
        "latent": Node("EmptyLatentImage", (420, 950), (290, 110), {"width": 256, "height": 256, "batch_size": 1}),
        "sampler": Node(
            "KSampler",
            (1400, 790),
            (260, 270),
            {
                "model": ("apply", 0),
                "positive": ("apply", 1),
                "negative": ("apply", 2),
                "latent_image": ("latent", 0),
                "seed": 8,
                "steps": 20,
                "cfg": 4.0,
                "sampler_name": "euler",
                "scheduler": "normal",
                "denoise": 1.0,
            },
        ),
        "decode": Node("VAEDecode", (1400, 1100), (260, 50), {"samples": ("sampler", 0), "vae": ("mini", 2)}),
        "save": Node(
            "SaveImage",
            (1700, 790),
            (340, 380),
            {"images": ("decode", 0), "filename_prefix": "HanDrawer"},
            "With HanDrawer",
        ),
        "sampler_base": Node(
            "KSampler",
            (1400, 1255),
            (260, 270),
            {
                "model": ("mini", 0),
                "positive": ("positive", 0),
                "negative": ("negative", 0),
                "latent_image": ("latent", 0),
                "seed": 8,
                "steps": 20,
                "cfg": 4.0,
                "sampler_name": "euler",
                "scheduler": "normal",
                "denoise": 1.0,
            },
        ),
        "decode_base": Node("VAEDecode", (1400, 1585), (260, 50), {"samples": ("sampler_base", 0), "vae": ("mini", 2)}),
        "base": Node("PreviewImage", (1700, 1255), (340, 380), {"images": ("decode_base", 0)}, "Without HanDrawer"),
    },
    [
        Group("1  Photo to hands", (400, 20, 1660, 690), "#3f789e"),
        Group("2  Model and prompts", (400, 720, 670, 350), "#8A8"),
        Group("3  Picture, steered by the hand", (1080, 720, 980, 450), "#b58b2a"),
        Group("The same without the hand, to compare", (1380, 1180, 680, 470), "#888"),
    ],
)

PANELS = {
    "estimate": "hands in a picture",
    "depth": "one of them",
    "base": "small demonstration model",
    "save": "the same, with HanDrawer",
}
WORKFLOWS = {"HanDrawer - photo to picture": PHOTO_TO_PICTURE}


def fetch_nodes(address: str) -> dict:
    """The host's description of all its nodes."""
    with urllib.request.urlopen(f"{address.rstrip('/')}/object_info", timeout=60) as answer:  # noqa: S310
        return json.load(answer)


def input_definitions(info: dict) -> list[tuple[str, str]]:
    """(name, type) of every input in the node's own order; a list of choices is a COMBO."""
    found = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
    return [(name, "COMBO" if isinstance(spec[0], list) else spec[0]) for name, spec in found.items()]


def build(name: str, nodes: dict[str, Node], groups: list[Group], infos: dict) -> dict:
    """A workflow in the page's own format.

    Raises:
        ValueError: a node is unknown to the host, or lacks an input.
    """
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
            if name in CONTROLLED:
                values.append("fixed")
    return {
        **common,
        "inputs": [{"name": name, "type": kind, "link": None} for name, kind in definitions if kind not in WIDGETS],
        "outputs": [
            {"name": name, "type": kind, "links": [], "slot_index": slot}
            for slot, (name, kind) in enumerate(zip(info["output_name"], info["output"], strict=True))
        ],
        "properties": {"Node name for S&R": node.kind},
        "widgets_values": values,
    }


def api_format(nodes: dict[str, Node]) -> dict:
    """The workflow as the host runs it."""
    prompt = {}
    for key, node in nodes.items():
        if node.text is None:
            inputs = {name: list(v) if isinstance(v, tuple) else v for name, v in node.inputs.items()}
            prompt[key] = {"class_type": node.kind, "inputs": inputs}
    return prompt


def post(address: str, path: str, content: dict) -> bytes:
    request = urllib.request.Request(  # noqa: S310
        f"{address}{path}", json.dumps(content).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return answer.read()


def run(address: str, prompt: dict) -> dict:
    """Run a workflow to its end: each node's pictures.

    Raises:
        RuntimeError: the host refused it, or it failed.
    """
    post(address, "/free", {"free_memory": True})  # nodes whose results are still there do not report their pictures
    time.sleep(2)
    number = json.loads(post(address, "/prompt", {"prompt": prompt}))["prompt_id"]
    while True:
        with urllib.request.urlopen(f"{address}/history/{number}", timeout=60) as answer:  # noqa: S310
            history = json.load(answer)
        if history:
            break
        time.sleep(0.5)
    if history[number]["status"]["status_str"] != "success":
        raise RuntimeError(f"The workflow failed: {history[number]['status']['messages'][-1]}")
    pictures = {}
    for key, output in history[number]["outputs"].items():
        place = "&".join(f"{name}={value}" for name, value in output["images"][0].items())
        with urllib.request.urlopen(f"{address}/view?{place}", timeout=60) as answer:  # noqa: S310
            pictures[key] = Image.open(io.BytesIO(answer.read())).convert("RGB")
    return pictures


def thumbnail(pictures: dict, panels: dict[str, str]) -> Image.Image:
    """Pictures of some nodes side by side in two rows, each with its caption."""
    side, line = 320, 30
    sheet = Image.new("RGB", (2 * side, 2 * (side + line)), "#202020")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(18)
    for place, (key, caption) in enumerate(panels.items()):
        x, y = place % 2 * side, place // 2 * (side + line)
        picture = pictures[key].copy()
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
        if picture.height == picture.width:
            picture = picture.resize((side, side), Image.Resampling.LANCZOS)
        sheet.paste(picture, (x + (side - picture.width) // 2, y + line + (side - picture.height) // 2))
        draw.text((x + side // 2, y + line // 2), caption, "white", font, "mm")
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes workflows/*.json and their thumbnails.")
    parser.add_argument("address", help="of a running ComfyUI with this project in it")
    parser.add_argument("--thumbnails", action="store_true", help="run the workflows and draw their thumbnails")
    arguments = parser.parse_args()
    address = arguments.address.rstrip("/")
    infos = fetch_nodes(address)
    for name, (nodes, groups) in WORKFLOWS.items():
        path = ROOT / "workflows" / f"{name}.json"
        path.write_text(json.dumps(build(name, nodes, groups, infos), indent=1, ensure_ascii=False) + "\n")
        print(path)
        if arguments.thumbnails:
            sheet = thumbnail(run(address, api_format(nodes)), PANELS)
            sheet.save(path.with_suffix(".jpg"), quality=88)
            print(path.with_suffix(".jpg"))


if __name__ == "__main__":
    main()
