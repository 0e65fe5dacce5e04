"""A running ComfyUI, and the pictures that it makes of a workflow."""

from __future__ import annotations

import io
import json
import time
import urllib.parse
import urllib.request

from PIL import Image

from .files import Workflow, api_format
from .thumbnails import thumbnail


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
    return thumbnail(run(address, prompt), panels, workflow.inset)
