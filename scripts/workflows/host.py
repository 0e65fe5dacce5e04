"""A running ComfyUI, and the pictures that it makes of a workflow."""

from __future__ import annotations

import io
import json
import time
import urllib.parse
import urllib.request

from PIL import Image, ImageDraw, ImageFont

from .files import Workflow, api_format


def fetch_nodes(address: str) -> dict:
    """The host's description of all its nodes."""
    with urllib.request.urlopen(f"{address.rstrip('/')}/object_info", timeout=60) as answer:  # noqa: S310
        return json.load(answer)


def post(address: str, path: str, content: dict) -> bytes:
    request = urllib.request.Request(  # noqa: S310
        f"{address}{path}", json.dumps(content).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return answer.read()


def run(address: str, prompt: dict) -> dict[tuple[str, int], Image.Image]:
    """Run a workflow to its end: the pictures by node and number.

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
        for place, image in enumerate(output.get("images", ())):
            where = "&".join(f"{name}={urllib.parse.quote(value)}" for name, value in image.items())
            with urllib.request.urlopen(f"{address}/view?{where}", timeout=60) as answer:  # noqa: S310
                pictures[key, place] = Image.open(io.BytesIO(answer.read())).convert("RGB")
    return pictures


def draw_thumbnail(address: str, workflow: Workflow) -> Image.Image:
    """What the panels show, from a run of all that they need."""
    panels = {(key if isinstance(key, tuple) else (key, 0)): caption for key, caption in workflow.panels.items()}
    nodes = workflow.nodes
    prompt = api_format(nodes, None if workflow.runs else {key for key, _ in panels})
    if not workflow.runs:  # a node that saves nothing ends no prompt: show what the panels are of
        for key, _ in panels:
            if "images" not in nodes[key].inputs:
                prompt[f"{key} shown"] = {"class_type": "PreviewImage", "inputs": {"images": [key, 0]}}
    return sheet(run(address, prompt), panels)


def sheet(pictures: dict, panels: dict[tuple[str, int], str]) -> Image.Image:
    """Pictures side by side, at most two in a row, each with its caption."""
    side, line = 320, 30
    rows = -(-len(panels) // 2)
    page = Image.new("RGB", (min(2, len(panels)) * side, rows * (side + line)), "#202020")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(18)
    for place, (key, caption) in enumerate(panels.items()):
        x, y = place % 2 * side, place // 2 * (side + line)
        picture = pictures[key].copy()
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
        if picture.height == picture.width:
            picture = picture.resize((side, side), Image.Resampling.LANCZOS)
        page.paste(picture, (x + (side - picture.width) // 2, y + line + (side - picture.height) // 2))
        draw.text((x + side // 2, y + line // 2), caption, "white", font, "mm")
    return page


LARGEST = 60_000  # bytes of a thumbnail


def save_small(picture: Image.Image, path: str) -> None:
    """As JPEG of at most ``LARGEST`` bytes."""
    for quality in range(88, 20, -6):
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality, optimize=True)
        if buffer.tell() <= LARGEST:
            break
    with open(path, "wb") as file:
        file.write(buffer.getvalue())
