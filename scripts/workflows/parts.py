"""What the workflows on the small model have in common."""

from __future__ import annotations

from .files import Node

DEMONSTRATION = "The small model is a **demonstration**: synthetic hands at 256 × 256, and nothing else."
STEPS, CFG = 10, 4.0


def sampler(at, model, positive, negative, latent, *, seed: int, steps: int = STEPS, denoise: float = 1.0) -> Node:
    """The host's sampler."""
    inputs = {
        "model": model, "positive": positive, "negative": negative, "latent_image": latent, "seed": seed,
        "steps": steps, "cfg": CFG, "sampler_name": "euler", "scheduler": "normal", "denoise": denoise,
    }  # fmt: skip
    return Node("KSampler", at, (260, 270), inputs)


def apply(at, features, model=("mini", 0), positive=("positive", 0), negative=("negative", 0)) -> Node:
    inputs = {
        "model": model, "features": features, "strength": 1.0, "start_percent": 0.0, "end_percent": 1.0,
        "positive": positive, "negative": negative,
    }  # fmt: skip
    return Node("HanDrawerApply", at, (250, 200), inputs)


def base(at: tuple[int, int], prompt: str, *, batch: int = 1) -> dict[str, Node]:
    """The small model, its prompts and an empty latent, in a column and the one right of it."""
    x, y = at
    return {
        "mini": Node("HanDrawerLoadMini", (x, y), (290, 120)),
        "latent": Node(
            "EmptyLatentImage", (x, y + 170), (290, 110), {"width": 256, "height": 256, "batch_size": batch}
        ),
        "positive": Node("CLIPTextEncode", (x + 340, y), (290, 140), {"clip": ("mini", 1), "text": prompt}, "Prompt"),
        "negative": Node(
            "CLIPTextEncode", (x + 340, y + 180), (290, 90), {"clip": ("mini", 1), "text": ""}, "Negative prompt"
        ),
    }


def pose(at: tuple[int, int], name: str, side: str = "right", **changes) -> Node:
    inputs = {
        "search": "", "pose": name, "side": side, "x": 0.5, "y": 0.5, "size": 0.75, "yaw": 0.0, "pitch": 0.0,
        "roll": 0.0, "width": 256, "height": 256,
    }  # fmt: skip
    return Node("HanDrawerPoseLibrary", at, (290, 800), inputs | changes)


def encode(at: tuple[int, int], hands=("pose", 0)) -> Node:
    return Node("HanDrawerEncodeHands", at, (290, 70), {"handrawer": ("mini", 3), "hands": hands})


def decode(at: tuple[int, int], samples=("sampler", 0)) -> Node:
    return Node("VAEDecode", at, (260, 50), {"samples": samples, "vae": ("mini", 2)})


def save(at: tuple[int, int], images, title: str, origin: str = "made by a model") -> Node:
    inputs = {"images": images, "filename_prefix": "HanDrawer", "origin": origin}
    return Node("HanDrawerSaveImage", at, (340, 490), inputs, title)


def preview(at: tuple[int, int], images, title: str) -> Node:
    return Node("PreviewImage", at, (300, 330), {"images": images}, title)


def render(at: tuple[int, int], hands, image=None) -> Node:
    inputs = {"hands": hands, "depth_range": "picture", "normal_colours": "bae"}
    return Node("HanDrawerRenderHands", at, (290, 570), inputs | ({} if image is None else {"image": image}))
