"""Nodes for the hands of a video: the pictures of a batch taken as time."""

import torch
from comfy_api.latest import io

from ..handrawer.hand.hands import Hands
from . import types
from .outputs import PLACING, hands_output, note_output


class HanDrawerSmoothHands(io.ComfyNode):
    """A video's hands made steady."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HanDrawerSmoothHands",
            display_name="Smooth Hands",
            category=PLACING,
            description=(
                "For videos: follows every hand through the pictures of the batch, fills in where it was missed, and "
                "takes the jitter out of its motion."
            ),
            inputs=[
                types.Hands.Input("hands", tooltip="The hands of a video, one picture after the other."),
                io.Float.Input(
                    "strength", default=0.5, min=0.0, max=1.0, step=0.05,
                    tooltip="How much each hand is averaged with itself before and after: 0 not at all, 0.5 over some "
                    "five pictures, 1 over some twenty.",
                ),
                io.Int.Input(
                    "fill_gaps", default=4, min=0, max=120,
                    tooltip="Where a hand is missed in at most so many pictures, it is put there between its "
                    "neighbours.",
                ),
                io.Int.Input(
                    "hold", default=0, min=0, max=120,
                    tooltip="For so many pictures a hand that is lost stays where it was seen last.",
                ),
            ],
            outputs=[
                hands_output("The steady hands, in the same order in every picture."),
                note_output(),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, hands: Hands, strength: float, fill_gaps: int, hold: int) -> io.NodeOutput:
        from ..handrawer.estimate.smooth import smooth_hands

        with torch.inference_mode(False):
            smoothed = smooth_hands(hands, strength, fill_gaps=fill_gaps, hold=hold)
        return io.NodeOutput(smoothed.hands, smoothed.note)
