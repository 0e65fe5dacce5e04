"""Hands beside the host's nodes that take batches of latents apart and put them together."""

from comfy_api.latest import io

from ..handrawer.hand.hands import Hands
from . import types
from .outputs import PLACING, hands_output


def from_batch(hands: Hands, start: int, length: int) -> Hands:
    """The hands of some pictures, cut off at the end as Latent From Batch does it.

    Raises:
        ValueError: there are no pictures.
    """
    count = len(hands.frames)
    if not count:
        raise ValueError("hands: they belong to no picture; connect hands of at least one.")
    start = min(count - 1, start)
    return Hands(hands.frames[start : start + length])


def from_indices(hands: Hands, indices: list[int]) -> Hands:
    """The hands of the pictures with these numbers; numbers beyond the last picture begin again at the first.

    Raises:
        ValueError: there are no pictures.
    """
    count = len(hands.frames)
    if not count:
        raise ValueError("hands: they belong to no picture; connect hands of at least one.")
    return Hands(tuple(hands.frames[i % count] for i in indices))


class HanDrawerHandsFromBatch(io.ComfyNode):
    """The hands of some pictures of a batch."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HanDrawerHandsFromBatch",
            display_name="Hands from Batch",
            category=PLACING,
            description=(
                "The hands of some pictures of a batch, to go with Latent From Batch, Image From Batch and Rebatch "
                "Latents: a model cannot know which pictures of a batch it was given."
            ),
            inputs=[
                types.Hands.Input("hands", tooltip="Hands of a batch of pictures."),
                io.Int.Input(
                    "batch_index", default=0, min=0, max=4095, tooltip="The first picture's number, from 0."
                ),
                io.Int.Input("length", default=1, min=1, max=4096, tooltip="How many pictures."),
                io.Latent.Input(
                    "latent",
                    optional=True,
                    tooltip="From Latent From Batch or Rebatch Latents: the pictures in it are taken, and batch_index "
                    "and length do not count.",
                ),
            ],
            outputs=[hands_output("The hands of those pictures.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, hands: Hands, batch_index: int, length: int, latent: dict | None = None) -> io.NodeOutput:
        if latent is None:
            return io.NodeOutput(from_batch(hands, batch_index, length))
        indices = latent.get("batch_index")
        return io.NodeOutput(
            from_indices(hands, list(range(len(latent["samples"])) if indices is None else indices))
        )  # fmt: skip
