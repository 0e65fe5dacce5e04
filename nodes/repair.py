"""Nodes that cut hands out to be drawn anew, and stitch them back."""

from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import comfy.model_management as mm
import torch
from comfy_api.latest import io, ui

from ..handrawer.hand.hands import Frame, Hands
from ..handrawer.hand.select import parse_numbers
from ..handrawer.render.stitching import Piece, crops, cut_pieces, stitch
from . import pictures, placing, types
from .outputs import PICTURES, PLACING, hands_output, image_output, note_output

SHAPES = ("hull", "ellipse", "box", "silhouette")
TOUCHED = 0.25  # share of a hand's box that a mask must cover for the hand to be meant
Segs = io.Custom("SEGS")
SEG = namedtuple("SEG", "cropped_image cropped_mask confidence crop_region bbox label control_net_wrapper")
"""As the Impact Pack's, which asks for the names alone."""


@dataclass(frozen=True, eq=False)
class Stitches:
    """What Stitch Hands needs: the pictures, and where each crop of them lies."""

    image: torch.Tensor
    pieces: tuple[Piece, ...]


Stitch = io.Custom("HANDRAWER_STITCH")


class HanDrawerCropHands(io.ComfyNode):
    """Hands cut out of their pictures."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HanDrawerCropHands",
            display_name="Crop Hands",
            category=PLACING,
            description=(
                "Cuts hands out, each as a square picture with a mask, to draw them anew at full size; Stitch Hands "
                "puts them back. Without a hand to cut, one crop with an empty mask: then nothing will change."
            ),
            inputs=[
                types.Hands.Input("hands", tooltip="Hands in the picture, from Score Hands or Estimate Hands."),
                io.Image.Input("image", tooltip="The picture that they lie in."),
                io.Int.Input("size", default=512, min=64, max=4096, step=8, tooltip="Side of the crops, in pixels."),
                io.Float.Input(
                    "margin", default=0.5, min=0.0, max=4.0, step=0.05,
                    tooltip="What is shown round the hand on each side, in shares of its size.",
                ),
                io.String.Input(
                    "numbers", default="",
                    tooltip="Numbers of the hands, like 0,2, as the overlay shows them. Empty: all.",
                ),
                io.Combo.Input("mask_shape", options=list(SHAPES), tooltip="What round the hand may change."),
                io.Float.Input(
                    "mask_padding", default=0.15, min=0.0, max=2.0, step=0.01,
                    tooltip="Grows the mask by this share of the hand's size.",
                ),
                io.Float.Input(
                    "mask_feather", default=0.08, min=0.0, max=1.0, step=0.01,
                    tooltip="Width of the mask's soft edge, a share of the hand's size.",
                ),
                io.Mask.Input(
                    "mask", optional=True,
                    tooltip="Only hands that this covers are cut: the bad hands' mask of Score Hands, or one of yours.",
                ),
            ],
            outputs=[
                image_output("crops", "The hands, one picture for each."),
                io.Mask.Output(id="mask_out", display_name="mask", tooltip="What may change in each crop."),
                hands_output("The hands in the crops, the one that a crop was cut for first."),
                Stitch.Output(id="stitch_out", display_name="stitch", tooltip="For Stitch Hands."),
                io.Int.Output(id="count_out", display_name="count", tooltip="How many hands were cut out."),
                note_output(),
            ],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, hands: Hands, image: torch.Tensor, size: int, margin: float, numbers: str, mask_shape: str,
        mask_padding: float, mask_feather: float, mask: torch.Tensor | None = None,
    ) -> io.NodeOutput:  # fmt: skip
        image = pictures.check_image(image, "image").cpu()
        placing.check_sizes(hands, image)
        frames = hands.for_batch(len(image))[0] if len(hands.frames) < len(image) else hands
        with placing.named("numbers"):
            wanted = parse_numbers(numbers) if numbers.strip() else None
        masks = None if mask is None else pictures.check_mask(mask, "mask").cpu()
        chosen = [
            [n for n, hand in enumerate(frame.hands) if hand.enabled and (wanted is None or n in wanted)
             and (masks is None or _covered(frame, n, masks[number % len(masks)]))]
            for number, frame in enumerate(frames.frames)
        ]  # fmt: skip
        with torch.inference_mode(False), torch.no_grad():
            pieces = cut_pieces(
                frames, chosen, size, margin=margin, shape=mask_shape, padding=mask_padding, feather=mask_feather
            )
            cut = crops(image.clone(), pieces)
        count = sum(len(places) for places in chosen)
        note = "" if count else "No hand is to be redrawn: the crop's mask is empty, and nothing will change."
        device = mm.intermediate_device()
        return io.NodeOutput(
            cut.to(device), torch.stack([p.mask for p in pieces]).to(device), Hands(tuple(p.frame for p in pieces)),
            Stitches(image, tuple(pieces)), count, note, ui=ui.PreviewImage(cut[:4], cls=cls),
        )  # fmt: skip


def _covered(frame: Frame, number: int, mask: torch.Tensor) -> bool:
    """Whether a mask [H, W] of any size covers enough of the hand's box."""
    x0, y0, x1, y1 = frame.hands[number].box.tolist()
    height, width = mask.shape
    rows = slice(max(0, round(y0 * height)), max(0, round(y1 * height)))
    columns = slice(max(0, round(x0 * width)), max(0, round(x1 * width)))
    part = mask[rows, columns]
    return bool(part.numel()) and float(part.mean()) > TOUCHED


class HanDrawerStitchHands(io.ComfyNode):
    """Redrawn hands back into their pictures."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HanDrawerStitchHands",
            display_name="Stitch Hands",
            category=PLACING,
            description=(
                "Puts redrawn hands back where Crop Hands took them from, in matching colours and with a soft edge. "
                "Whatever lies outside of the crops' masks stays as it was, bit for bit."
            ),
            inputs=[
                Stitch.Input("stitch", tooltip="From Crop Hands."),
                io.Image.Input("crops", tooltip="The redrawn crops, of the same size or another."),
                io.Boolean.Input(
                    "match_colours", default=True,
                    tooltip="Brings the crop's colours to those of the picture, by what lies round the mask.",
                ),
                io.Float.Input(
                    "feather", default=0.04, min=0.0, max=0.5, step=0.01,
                    tooltip="Further softness of the mask's edge, a share of the crop's side.",
                ),
            ],
            outputs=[
                image_output("image", "The pictures with the redrawn hands."),
                io.Mask.Output(id="mask_out", display_name="mask", tooltip="Where they have changed."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, stitch: Stitches, crops: torch.Tensor, match_colours: bool, feather: float) -> io.NodeOutput:
        crops = pictures.check_image(crops, "crops").cpu()
        return _stitched(stitch, crops, match_colours, feather)


def _stitched(stitches: Stitches, redrawn: torch.Tensor, match_colours: bool, feather: float) -> io.NodeOutput:
    with torch.inference_mode(False), torch.no_grad(), placing.named("crops"):
        image, changed = stitch(
            stitches.image.clone(), redrawn.clone(), stitches.pieces, match_colours=match_colours, feather=feather
        )
    device = mm.intermediate_device()
    return io.NodeOutput(image.to(device), changed.to(device))


class HanDrawerSegsFromHands(io.ComfyNode):
    """Hands as the Impact Pack's segments."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HanDrawerSegsFromHands",
            display_name="SEGS from Hands",
            category=PICTURES,
            description="The hands of one picture as segments (SEGS) for the detailers of the Impact Pack.",
            inputs=[
                types.Hands.Input("hands", tooltip="The hands; those of the first picture, as SEGS are of one."),
                io.Float.Input(
                    "crop_factor", default=3.0, min=1.0, max=20.0, step=0.1,
                    tooltip="Sides of the crop region over those of the hand's box.",
                ),
                io.Combo.Input("mask_shape", options=list(SHAPES), tooltip="What round the hand may change."),
                io.Float.Input(
                    "mask_padding", default=0.1, min=0.0, max=2.0, step=0.01,
                    tooltip="Grows the mask by this share of the hand's size.",
                ),
            ],
            outputs=[
                Segs.Output(id="segs_out", display_name="segs", tooltip="One segment for each hand."),
                note_output(),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, hands: Hands, crop_factor: float, mask_shape: str, mask_padding: float) -> io.NodeOutput:
        from ..handrawer.render.hand_masks import hand_masks

        if not hands.frames:
            raise ValueError("hands: they belong to no picture; connect hands of at least one.")
        frame = hands.frames[0]
        drawn = [hand for hand in frame.hands if hand.enabled]
        with torch.inference_mode(False), torch.no_grad():
            masks = hand_masks(Hands((frame,)), shape=mask_shape, padding=mask_padding, feather=0.0, each=True)
        segments = [_segment(frame, hand, mask, crop_factor) for hand, mask in zip(drawn, masks, strict=True)]
        found: Any = ((frame.height, frame.width), [segment for segment in segments if segment is not None])
        note = placing.note_of(Hands((frame,)))
        return io.NodeOutput(found, note)


def _segment(frame: Frame, hand, mask: torch.Tensor, factor: float) -> SEG | None:
    """One hand's segment; None for one that lies outside the picture."""
    size = (frame.width, frame.height)
    box = [round(float(v) * size[i % 2]) for i, v in enumerate(hand.box)]
    box = [min(max(v, 0), size[i % 2]) for i, v in enumerate(box)]
    if box[2] <= box[0] or box[3] <= box[1]:
        return None
    region = []
    for axis, length in enumerate(size):
        side = min(length, max(1, round((box[axis + 2] - box[axis]) * factor)))
        start = min(max(0, (box[axis] + box[axis + 2] - side) // 2), length - side)
        region.append((start, start + side))
    (x0, x1), (y0, y1) = region
    cropped = mask[y0:y1, x0:x1].numpy()
    return SEG(None, cropped, float(hand.confidence), (x0, y0, x1, y1), tuple(box), f"{hand.side} hand", None)
