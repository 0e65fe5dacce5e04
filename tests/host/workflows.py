"""Workflows in API format, for tests."""

import json
from collections.abc import Sequence
from pathlib import Path


def photo_to_picture(picture: str = "hands.png", *, seed: int = 1, strength: float = 1.0, steps: int = 2) -> dict:
    """The shipped workflow's graph: example picture to hands to a picture of the small model."""
    return {
        "1": node("HanDrawerExamplePicture", picture=picture),
        "2": node("HanDrawerEstimateHands", image=["1", 0], max_hands=4, min_confidence=0.5),
        "3": node(
            "HanDrawerPlaceHands", hands=["2", 0], width=256, height=256, mode="crop", hand=0, margin=0.2,
            image=["1", 0],
        ),
        "4": node("HanDrawerRenderHands", hands=["3", 0], depth_range="picture", normal_colours="bae"),
        "5": node("PreviewImage", images=["4", 0]),
        "6": node("HanDrawerLoadMini"),
        "7": node("HanDrawerEncodeHands", handrawer=["6", 3], hands=["3", 0]),
        "8": node("CLIPTextEncode", clip=["6", 1], text="a right hand, light skin, bare arm, grey background"),
        "9": node("CLIPTextEncode", clip=["6", 1], text=""),
        "10": node(
            "HanDrawerApply", model=["6", 0], features=["7", 0], strength=strength, start_percent=0.0, end_percent=1.0,
            positive=["8", 0], negative=["9", 0],
        ),
        "11": node("EmptyLatentImage", width=256, height=256, batch_size=1),
        "12": sampler(["10", 0], ["10", 1], ["10", 2], ["11", 0], seed=seed, steps=steps),
        "13": node("VAEDecode", samples=["12", 0], vae=["6", 2]),
        "14": node("PreviewImage", images=["13", 0]),
    }  # fmt: skip


def gesture_to_picture(*, seed: int = 1, strength: float = 1.0, steps: int = 2, cfg: float = 3.0) -> dict:
    """A gesture instead of a photo: nothing is estimated."""
    workflow = photo_to_picture(seed=seed, strength=strength, steps=steps)
    for name in ("1", "2", "4", "5"):
        del workflow[name]
    workflow["3"] = node(
        "HanDrawerGesture", gesture="peace", side="left", x=0.5, y=0.5, size=0.7, yaw=10.0, pitch=0.0, roll=-5.0,
        width=256, height=256,
    )  # fmt: skip
    workflow["12"]["inputs"]["cfg"] = cfg
    return workflow


def node(kind: str, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs}


def sampler(model, positive, negative, latent, *, seed: int = 1, steps: int = 2, cfg: float = 3.0) -> dict:
    return node(
        "KSampler", model=model, positive=positive, negative=negative, latent_image=latent, seed=seed, steps=steps,
        cfg=cfg, sampler_name="euler", scheduler="normal", denoise=1.0,
    )  # fmt: skip


def without_handrawer(workflow: dict) -> dict:
    """The same workflow with the apply node taken out: its inputs go straight to the sampler."""
    kept = {name: n for name, n in workflow.items() if n["class_type"] != "HanDrawerApply"}
    applied = next(n["inputs"] for n in workflow.values() if n["class_type"] == "HanDrawerApply")
    straight = {"model": applied["model"], "positive": applied["positive"], "negative": applied["negative"]}
    return {
        name: {**n, "inputs": {**n["inputs"], **straight}} if n["class_type"] == "KSampler" else n
        for name, n in kept.items()
    }


def read_shipped(path: Path, infos: dict) -> dict:
    """A shipped workflow, from the page's format to the API's, as the page does it.

    Args:
        path: a file of workflows/.
        infos: the host's /object_info, which tells in which order a node's widgets are saved.
    """
    graph = json.loads(path.read_text(encoding="utf-8"))
    sources = {link[0]: [str(link[1]), link[2]] for link in graph["links"]}
    prompt = {}
    for entry in graph["nodes"]:
        if entry["type"] in ("Note", "MarkdownNote"):
            continue
        sockets = {socket["name"]: socket for socket in entry["inputs"]}
        values = iter(entry["widgets_values"])
        inputs = {}
        definition = infos[entry["type"]]["input"]
        for name, kind in {**definition.get("required", {}), **definition.get("optional", {})}.items():
            if name in sockets:
                if sockets[name]["link"] is not None:
                    inputs[name] = sources[sockets[name]["link"]]
            elif is_widget(kind):
                inputs[name] = next(values, default_of(kind))
                if name == "seed" and (kind[1] if len(kind) > 1 else {}).get("control_after_generate", True):
                    assert next(values) == "fixed", "the seed must not change by itself"
        assert next(values, None) is None, f"{entry['type']} has more widget values than widgets"
        prompt[str(entry["id"])] = {"class_type": entry["type"], "inputs": inputs}
    return prompt


def distinct(files: Sequence[Path]) -> list[Path]:
    """The first of each: a file that a release took over unchanged from another is the same test again."""
    first: dict[bytes, Path] = {}
    for file in files:
        first.setdefault(file.read_bytes(), file)
    return list(first.values())


def models_of(file: Path) -> list[dict]:
    """The model files that a workflow names, with their addresses."""
    nodes = json.loads(file.read_text(encoding="utf-8"))["nodes"]
    return [model for node in nodes for model in node["properties"].get("models", ())]


def is_widget(kind: list) -> bool:
    """Whether an input, as /object_info describes it, is set on the node itself."""
    return isinstance(kind[0], list) or kind[0] in ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")


def default_of(kind: list):
    """What the page gives a widget that is younger than the saved file: its default, or a list's first entry."""
    settings = kind[1] if len(kind) > 1 else {}
    options = kind[0] if isinstance(kind[0], list) else settings.get("options")
    return settings.get("default", options[0] if options else "")
