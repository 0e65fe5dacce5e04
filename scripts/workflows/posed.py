"""Workflows that begin with the hand poser: hands posed by hand, and kept in the file itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from handrawer.hand.anatomy import ANGLE_NAMES
from handrawer.hand.hands import Frame
from handrawer.hand.library import LibraryPose, frame_from_pose, library
from handrawer.hand.poser import dump_state, frame_to_state

from .any_model import BAD, PROMPT, SDXL, SDXL_DEPTH, controlled
from .files import Group, Node, Workflow, note
from .parts import DEMONSTRATION, apply, base, decode, encode, preview, render, sampler, save

# A pose that no list has: the ring finger pulled down, the others stretched.
RING_DOWN: dict[str, float] = {
    "ring_mcp_flexion": 62,
    "ring_pip_flexion": 70,
    "ring_dip_flexion": 40,
    "little_mcp_abduction": 14,
}


def changed(name: str, degrees: Mapping[str, float]) -> LibraryPose:
    """A pose of the library with some of its angles set anew, in degrees."""
    pose = library()[name]
    angles = pose.angles.clone()
    for angle, value in degrees.items():
        angles[ANGLE_NAMES.index(angle)] = math.radians(value)
    return replace(pose, angles=angles)


def state(side: int, *frames: Frame) -> str:
    """What the poser keeps of the hands of several frames of one size."""
    kept, _ = frame_to_state(Frame(side, side, tuple(hand for frame in frames for hand in frame.hands)))
    return dump_state(kept)


def poser(at: tuple[int, int], side: int, text: str) -> Node:
    return Node("HanDrawerPoser", at, (480, 740), {"width": side, "height": side, "state": text})


ONE = state(
    256, frame_from_pose(changed("open", RING_DOWN), "right", 256, 256, centre=(0.5, 0.46), size=0.68, turn=(12, 0, -8))
)
BOTH = state(
    1024,
    frame_from_pose(library()["hold_ball"], "right", 1024, 1024, centre=(0.3, 0.55), size=0.46, turn=(0, 0, 10)),
    frame_from_pose(
        changed("open", {"index_mcp_flexion": 25, "middle_mcp_flexion": 15, "little_mcp_abduction": 12}),
        "left", 1024, 1024, centre=(0.7, 0.48), size=0.6, turn=(-15, 0, 12),
    ),
)  # fmt: skip

POSE_BY_HAND = Workflow(
    {
        "note": note(
            f"""## A hand posed by hand steers a picture
1. In *Hand Poser* drag the palm to move the hand, scroll to size it, drag with the right button to turn it.
2. **Pull a fingertip** and the finger follows; below are sliders, above undo, presets and more hands.
3. What you see is what the sampler gets: *Render Hands* shows its depth. The pose is kept in the workflow.
4. Connect a picture to pose over it, or hands of a photo to begin with them.
5. {DEMONSTRATION}""",
            (400, 900),
        ),
        "poser": poser((420, 100), 256, ONE),
        "render": render((940, 100), ("poser", 0)),
        "depth": preview((1280, 100), ("render", 0), "Depth of the hand"),
        **base((420, 1160), "a right hand, light skin, blue sleeve, green background, soft light"),
        "encode": encode((1280, 560), ("poser", 0)),
        "apply": apply((1100, 1160), ("encode", 0)),
        "sampler": sampler((1400, 1160), ("apply", 0), ("apply", 1), ("apply", 2), ("latent", 0), seed=1),
        "decode": decode((1400, 1470)),
        "save": save((1700, 1160), ("decode", 0), "With HanDrawer"),
    },
    [
        Group("1  A hand, posed by hand", (400, 20, 1210, 850), "#3f789e"),
        Group("2  Model and prompts", (400, 1080, 670, 400), "#8A8"),
        Group("3  Picture", (1080, 1080, 980, 500), "#b58b2a"),
    ],
    {"depth": "posed on the node", "save": "small demonstration model"},
)

POSE_TO_DEPTH = Workflow(
    {
        "note": note(
            """## Hands posed by hand, as depth for an SDXL ControlNet
1. Without any model: pose in *Hand Poser* (drag, scroll, right-drag; pull fingertips), and *Render Hands* draws depth.
2. Connect a picture to **image** to pose over it; connect hands of a photo to **hands** to begin with them.
3. The depth picture goes to a depth ControlNet; the button on the missing models' list names where they are had.
4. **strength** 0.6 to 0.9 and an **end_percent** of 0.7 leave the model room for skin and light.
5. With other models (SD 1.5, Flux, Qwen) only the loaders and the ControlNet change: the depth is the same.""",
            (400, 900), (760, 230),
        ),
        "poser": poser((420, 100), 1024, BOTH),
        "render": render((940, 100), ("poser", 0)),
        "depth": preview((1280, 100), ("render", 0), "Depth for the ControlNet"),
        "normals": preview((1280, 480), ("render", 1), "Normals, for a normal ControlNet"),
        "model": Node("CheckpointLoaderSimple", (420, 1220), (290, 110), {"ckpt_name": SDXL.name}, models=(SDXL,)),
        "control_net": Node(
            "ControlNetLoader", (420, 1380), (290, 70), {"control_net_name": SDXL_DEPTH.name}, models=(SDXL_DEPTH,)
        ),
        "latent": Node("EmptyLatentImage", (420, 1500), (290, 110), {"width": 1024, "height": 1024, "batch_size": 1}),
        "positive": Node(
            "CLIPTextEncode", (760, 1220), (290, 140),
            {"clip": ("model", 1), "text": PROMPT.replace("a person's hand", "a person's two hands")}, "Prompt",
        ),
        "negative": Node(
            "CLIPTextEncode", (760, 1400), (290, 110), {"clip": ("model", 1), "text": BAD}, "Negative prompt"
        ),
        "apply": controlled((1100, 1220), ("control_net", 0), ("render", 0), vae=("model", 2)),
        "sampler": Node(
            "KSampler", (1440, 1220), (260, 270),
            {"model": ("model", 0), "positive": ("apply", 0), "negative": ("apply", 1), "latent_image": ("latent", 0),
             "seed": 1, "steps": 28, "cfg": 6.0, "sampler_name": "dpmpp_2m", "scheduler": "karras", "denoise": 1.0},
        ),
        "decode": Node("VAEDecode", (1440, 1530), (260, 50), {"samples": ("sampler", 0), "vae": ("model", 2)}),
        "save": save((1780, 1220), ("decode", 0), "Picture"),
    },
    [
        Group("1  Hands, posed by hand, to depth", (400, 20, 1210, 850), "#3f789e"),
        Group("2  SDXL, a depth ControlNet and prompts", (400, 1150, 1010, 480), "#8A8"),
        Group("3  Picture", (1420, 1150, 720, 500), "#b58b2a"),
    ],
    {"normals": "posed on the node", "depth": "depth for a ControlNet"},
    inset="lower left",
    runs=False,
)  # fmt: skip

WORKFLOWS = {
    "HanDrawer - pose by hand": POSE_BY_HAND,
    "Any model - pose by hand to depth": POSE_TO_DEPTH,
}
