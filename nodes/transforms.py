"""Nodes that move hands as other nodes move their pictures, and back."""

from collections.abc import Sequence
from typing import Any

import torch
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ..handrawer.hand import transform
from ..handrawer.hand.hands import Frame, Hands
from ..handrawer.hand.transform import Transform
from ..handrawer.render.masks import blur, dilate
from ..handrawer.render.moving import transform_picture
from . import pictures, placing, regions, types
from .outputs import MAX_SIDE, PLACING, hands_output, image_output, note_output

Transforms = io.Custom("HANDRAWER_TRANSFORM")
"""How each picture of a batch was moved: a tuple of ``handrawer.hand.transform.Transform``."""
Stitcher = io.Custom("STITCHER")
Segs = io.Custom("SEGS")

FLIPS = {"none": (False, False), "horizontally": (True, False), "vertically": (False, True), "both": (True, True)}


class HanDrawerTransformHands(io.ComfyNode):
    """Hands through the same crop, flip, turn, resize and pad as their picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        def pixels(name: str, tooltip: str, least: int = 0) -> io.Input:
            return io.Int.Input(name, default=0, min=least, max=MAX_SIDE, tooltip=tooltip)

        return io.Schema(
            node_id="HanDrawerTransformHands",
            display_name="Transform Hands",
            category=PLACING,
            description=(
                "Moves hands as other nodes move their picture: crop, then flip, then turn, then resize, then pad; "
                "what is left at 0 does nothing. A picture connected here moves along. Paste Hands Back undoes it."
            ),
            inputs=[
                types.Hands.Input("hands", tooltip="The hands."),
                pixels("crop_x", "Left edge of the crop, in pixels of the picture.", -MAX_SIDE),
                pixels("crop_y", "Upper edge of the crop, in pixels of the picture.", -MAX_SIDE),
                pixels("crop_width", "Width of the crop, in pixels; 0: up to the picture's right edge."),
                pixels("crop_height", "Height of the crop, in pixels; 0: down to the picture's lower edge."),
                io.Combo.Input(
                    "flip", options=list(FLIPS),
                    tooltip="Mirrors the picture. A right hand becomes a left one, except for both.",
                ),
                io.Float.Input(
                    "rotate", default=0.0, min=-360.0, max=360.0, step=1.0,
                    tooltip="Degrees to turn the picture clockwise about its middle.",
                ),
                io.Boolean.Input(
                    "expand", default=True, tooltip="The turned picture grows to hold all of the old one."
                ),
                pixels("resize_width", "New width, in pixels; 0: follows the height, or stays."),
                pixels("resize_height", "New height, in pixels; 0: follows the width, or stays."),
                io.Combo.Input(
                    "resize_mode", options=["contain", "cover"],
                    tooltip="Hands are never stretched. Where the new size has another shape: contain shows the whole "
                    "picture, cover fills the new one.",
                ),
                pixels("pad_left", "Pixels added at the left."),
                pixels("pad_top", "Pixels added above."),
                pixels("pad_right", "Pixels added at the right."),
                pixels("pad_bottom", "Pixels added below."),
                io.Image.Input("image", optional=True, tooltip="The picture that the hands belong to."),
                Stitcher.Input(
                    "stitcher", optional=True,
                    tooltip="From Inpaint Crop: its crop and size, instead of the crop above.",
                ),
                Segs.Input(
                    "segs", optional=True,
                    tooltip="From the Impact Pack: the crop region of one of them, instead of the crop above.",
                ),
                io.Int.Input(
                    "segment", default=0, min=0, max=9999, optional=True, tooltip="Which of the SEGS, from 0."
                ),
            ],
            outputs=[
                hands_output("The hands in the new picture."),
                image_output("image", "The picture, moved like its hands; black where it does not reach."),
                Transforms.Output(
                    id="transform_out", display_name="transform", tooltip="For Paste Hands Back: what was done."
                ),
                note_output(),
            ],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, hands: Hands, image: torch.Tensor | None = None, stitcher: Any = None, segs: Any = None, segment: int = 0,
        **settings: Any,
    ) -> io.NodeOutput:  # fmt: skip
        if image is not None:
            image = pictures.check_image(image, "image")
            placing.check_sizes(hands, image)
        notes: list[str] = []
        moves = []
        for number, frame in enumerate(hands.frames):
            start = _cut(frame, number, stitcher, segs, segment, settings, notes)
            moves.append(_go_on(start, settings, notes))
        with torch.inference_mode(False):
            moved = transform.transform_hands(hands, moves)
        notes.append(placing.note_of(moved))
        said = "\n".join(dict.fromkeys(note for note in notes if note))
        return io.NodeOutput(moved, _moved(image, moves, "Transform Hands"), tuple(moves), said)


def _cut(
    frame: Frame, number: int, stitcher: Any, segs: Any, segment: int, settings: dict[str, Any], notes: list[str]
) -> Transform:
    """The first step: whatever says what is cut out."""
    size = (frame.width, frame.height)
    if stitcher is not None and segs is not None:
        raise ValueError("segs: the stitcher says already what is cut out; connect one of the two.")
    if stitcher is not None:
        with placing.named("stitcher"):
            return regions.of_stitcher(stitcher, number, *size)
    if segs is not None:
        with placing.named("segs"):
            found = regions.of_segs(segs, segment, *size)
        if found is None:
            notes.append("There are no segments: nothing was cut.")
        return found or transform.identity(*size)
    x, y = settings["crop_x"], settings["crop_y"]
    width, height = settings["crop_width"] or size[0] - x, settings["crop_height"] or size[1] - y
    if width < 1 or height < 1:
        raise ValueError(
            f"crop_x: a crop from ({x}, {y}) leaves nothing of a picture of {size[0]} x {size[1]} pixels; move it "
            "to the left or up, or give it a width and a height."
        )
    return transform.crop(*size, x, y, width, height)


def _go_on(start: Transform, settings: dict[str, Any], notes: list[str]) -> Transform:
    """The steps after the crop."""
    here = start
    horizontally, vertically = FLIPS[settings["flip"]]
    if horizontally or vertically:
        here = here.then(transform.flip(here.target_width, here.target_height, horizontally, vertically))
    if settings["rotate"] % 360:
        turn = transform.rotate(here.target_width, here.target_height, settings["rotate"], settings["expand"])
        here = here.then(turn)
    width, height = settings["resize_width"], settings["resize_height"]
    if width or height:
        old = (here.target_width, here.target_height)
        width = width or max(1, round(old[0] * height / old[1]))
        height = height or max(1, round(old[1] * width / old[0]))
        if not transform.keeps_shape(*old, width, height):
            how = "whole, with bars" if settings["resize_mode"] == "contain" else "filled, and cut"
            notes.append(
                f"{width} x {height} pixels have another shape than {old[0]} x {old[1]}: hands are not stretched, the "
                f"picture is {how}."
            )
        here = here.then(transform.resize(*old, width, height, settings["resize_mode"]))
    sides = [settings[f"pad_{side}"] for side in ("left", "top", "right", "bottom")]
    if any(sides):
        here = here.then(transform.pad(here.target_width, here.target_height, *sides))
    return here


def _moved(image: torch.Tensor | None, moves: Sequence[Transform], node: str) -> Any:
    """Each picture by its transform, those of a longer batch in turn; a block with a sentence where there is none."""
    if image is None:
        return ExecutionBlocker(
            f"{node}: its output 'image' is connected, but nothing is connected to its input 'image'; connect the "
            "picture that the hands belong to."
        )
    sizes = {(move.target_width, move.target_height) for move in moves}
    if len(sizes) > 1:
        return ExecutionBlocker(
            f"{node}: the pictures get different sizes and fit into no batch; give resize_width and resize_height."
        )
    count = max(len(image), len(moves))
    found = [transform_picture(image[[i % len(image)]], moves[i % len(moves)]) for i in range(count)]
    return torch.cat(found)


class HanDrawerPasteHandsBack(io.ComfyNode):
    """Hands and pictures back to where Transform Hands took them from."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HanDrawerPasteHandsBack",
            display_name="Paste Hands Back",
            category=PLACING,
            description=(
                "Undoes Transform Hands: hands, and a picture that was made of the crop, go back to where they were. "
                "The picture is pasted over the old one."
            ),
            inputs=[
                types.Hands.Input("hands", tooltip="Hands in the moved picture, or in one of the same shape."),
                Transforms.Input("transform", tooltip="From Transform Hands."),
                io.Int.Input(
                    "feather", default=0, min=0, max=512,
                    tooltip="Width of the soft edge of what is pasted, in pixels of the old picture.",
                ),
                io.Image.Input(
                    "image", optional=True, tooltip="The changed crop, of the moved picture's size or its shape."
                ),
                io.Image.Input(
                    "original", optional=True, tooltip="The whole picture, over which it is pasted; black without."
                ),
            ],
            outputs=[
                hands_output("The hands where they were."),
                image_output("image", "The picture with the crop pasted back."),
                io.Mask.Output(id="mask_out", display_name="mask", tooltip="Where the crop was pasted."),
                note_output(),
            ],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, hands: Hands, transform: tuple[Transform, ...], feather: int, image: torch.Tensor | None = None,
        original: torch.Tensor | None = None,
    ) -> io.NodeOutput:  # fmt: skip
        frames, note = hands.for_batch(max(len(hands.frames), len(transform)))
        with torch.inference_mode(False):
            moves = [
                _fitted("hands", frame.width, frame.height, transform[i % len(transform)])
                for i, frame in enumerate(frames.frames)
            ]
            back = Hands(tuple(move.frame(frame) for move, frame in zip(moves, frames.frames, strict=True)))
        notes = "\n".join(said for said in (note, placing.note_of(back)) if said)
        if image is None:
            nothing = ExecutionBlocker(
                "Paste Hands Back: its output 'image' or 'mask' is connected, but nothing is connected to its input "
                "'image'; connect the picture that was made of the crop."
            )
            return io.NodeOutput(back, nothing, nothing, notes)
        image = pictures.check_image(image, "image")
        if original is not None:
            original = pictures.check_image(original, "original").to(image.device)
        pasted, masks = _pasted(image, original, transform, feather)
        return io.NodeOutput(back, pasted, masks, notes)


def _fitted(name: str, width: int, height: int, move: Transform) -> Transform:
    """From what the moved picture became, perhaps of another size, back to the source."""
    if not transform.keeps_shape(move.target_width, move.target_height, width, height):
        raise ValueError(
            f"{name}: the moved picture had {move.target_width} x {move.target_height} pixels, this has {width} x "
            f"{height} and another shape; connect what was made of that picture."
        )
    return transform.resize(width, height, move.target_width, move.target_height).then(move.inverse())


def _pasted(
    image: torch.Tensor, original: torch.Tensor | None, moves: Sequence[Transform], feather: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """[B, H, W, 3] pictures and [B, H, W] masks."""
    sizes = {(move.source_width, move.source_height) for move in moves}
    if len(sizes) > 1:
        raise ValueError("transform: its pictures had different sizes and fit into no batch.")
    ((width, height),) = sizes
    if original is None:
        original = torch.zeros(1, height, width, 3, device=image.device)
    if tuple(original.shape[1:3]) != (height, width):
        raise ValueError(
            f"original: it has {original.shape[2]} x {original.shape[1]} pixels, but the hands' picture had {width} x "
            f"{height}; connect the picture that Transform Hands got."
        )
    found, masks = [], []
    for i in range(max(len(image), len(original), len(moves))):
        one = image[[i % len(image)]]
        move = _fitted("image", one.shape[2], one.shape[1], moves[i % len(moves)])
        mask = transform_picture(torch.ones_like(one[..., :1]), move)[..., 0]
        if feather:
            mask = blur(dilate(mask, -feather / 2), feather / 2) * mask
        below = original[[i % len(original)]]
        found.append(torch.lerp(below, transform_picture(one, move), mask[..., None]))
        masks.append(mask)
    return torch.cat(found), torch.cat(masks)
