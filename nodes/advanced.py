"""Apply HanDrawer with everything that can be set."""

import torch
from comfy_api.latest import io

from . import network, sampling, steering, tiles
from .outputs import MAX_SIDE, STEERING

# One input for each level of the encoder that any base has, finest first; mini and SDXL have no fourth.
LEVELS = {
    "full_resolution": "the latent's own grid: outlines and the places of the fingers",
    "half_resolution": "the grid of half as many cells a side",
    "quarter_resolution": "the grid of a quarter as many cells a side: how the hand is built",
    "eighth_resolution": "the coarsest grid of Stable Diffusion 1 and 2: how the hand fits the picture",
}


def level_inputs() -> list[io.Input]:
    return [
        io.Float.Input(
            name, default=1.0, min=0.0, max=2.0, step=0.05, tooltip=f"A further factor of the strength on {what}."
        )
        for name, what in LEVELS.items()
    ]


def crop_inputs() -> list[io.Input]:
    """Where the part that is drawn lies in the hands' pictures; a width of 0 stands for the whole."""
    texts = {
        "crop_x": "Left edge of the part of the hands' picture that this model draws, in that picture's pixels.",
        "crop_y": "Top edge of that part, in pixels.",
        "crop_width": "Its width in pixels. 0: the whole picture is drawn. For passes over a crop or tile.",
        "crop_height": "Its height in pixels. 0: the whole picture is drawn.",
    }
    return [
        io.Int.Input(
            name, default=0, min=0 if name in ("crop_width", "crop_height") else -MAX_SIDE, max=MAX_SIDE, tooltip=text
        )
        for name, text in texts.items()
    ]


def parse_weights(text: str) -> tuple[tuple[float, ...], ...]:
    """Weights of hands as they are typed: "1, 0.5" for the hands of every picture, one line for each picture.

    Raises:
        ValueError: something is no number, or below zero.
    """
    lines = [line.strip(" ,\t\r") for line in text.replace(";", "\n").strip().split("\n")] if text.strip() else []
    found = []
    for line in lines:
        try:
            weights = tuple(float(part) for part in line.split(",")) if line else ()
        except ValueError:
            weights = (-1.0,)
        if not all(0 <= weight <= 10 for weight in weights):
            raise ValueError(
                f"hand_weights: {line!r} is not understood; write one number from 0 to 10 for each hand, with commas "
                "between them, for example '1, 0.5', and a line for each picture if they differ."
            )
        found.append(weights)
    return tuple(found)


def parse_crop(x: int, y: int, width: int, height: int) -> tuple[int, int, int, int] | None:
    """The crop, or None for the whole picture.

    Raises:
        ValueError: only one of the sides is given, or a corner without sides.
    """
    if width and height:
        return (x, y, width, height)
    if width or height or x or y:
        raise ValueError(
            f"crop_width: a part at {x}, {y} of {width} x {height} pixels cannot be drawn; give crop_width and "
            "crop_height, or leave all four 0 for the whole picture."
        )
    return None


class HanDrawerApplyAdvanced(io.ComfyNode):
    """Features into a MODEL and its prompts, with strengths for levels and hands, and a crop."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HanDrawerApplyAdvanced",
            display_name="Apply HanDrawer (advanced)",
            category=STEERING,
            description=(
                "Apply HanDrawer with a strength for each level of the UNet and a weight for each hand, and for models "
                "that draw a crop of the hands' picture. With everything left as it is, it does the same as Apply "
                "HanDrawer."
            ),
            inputs=[
                io.Model.Input("model", tooltip="The model that the adapter was trained for."),
                steering.features_input(),
                *steering.run_time_controls(),
                *level_inputs(),
                io.String.Input(
                    "hand_weights",
                    default="",
                    multiline=True,
                    tooltip="A factor for each hand, in the order of the overlay's numbers: '1, 0.5'. Empty: all "
                    "alike. A line for each picture of a batch, if they differ.",
                ),
                *crop_inputs(),
                *steering.prompt_inputs(),
                io.Boolean.Input(
                    "follow_tiles",
                    default=False,
                    optional=True,
                    tooltip="For upscalers that draw a picture tile by tile (Ultimate SD Upscale): the prompts tell "
                    "where each tile lies, and it gets its part of the hands. Connect both prompts.",
                ),
            ],
            outputs=steering.steered_outputs(),
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model,
        features: network.Features,
        strength: float,
        start_percent: float,
        end_percent: float,
        full_resolution: float,
        half_resolution: float,
        quarter_resolution: float,
        eighth_resolution: float,
        hand_weights: str,
        crop_x: int,
        crop_y: int,
        crop_width: int,
        crop_height: int,
        positive: list | None = None,
        negative: list | None = None,
        mask: torch.Tensor | None = None,
        follow_tiles: bool = False,
    ) -> io.NodeOutput:
        key = str(cls.hidden.unique_id)
        levels = (full_resolution, half_resolution, quarter_resolution, eighth_resolution)
        view = network.View(parse_crop(crop_x, crop_y, crop_width, crop_height), parse_weights(hand_weights))
        if follow_tiles:
            if positive is None:
                raise ValueError(
                    "follow_tiles: the prompts carry where a tile lies, and none is connected; connect positive and "
                    "negative here, and their outputs to the upscaler."
                )
            positive, negative = tiles.carrying(positive, negative, key)
        return io.NodeOutput(
            steering.steer(
                model, features, key, strength, start_percent, end_percent, mask, levels, view, follow_tiles
            ),
            steering.marked(positive, key, sampling.POSITIVE),
            steering.marked(negative, key, sampling.NEGATIVE),
        )
