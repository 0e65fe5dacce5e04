"""What the nodes that steer a MODEL have in common."""

import torch
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from . import network, pictures, sampling, types


def features_input() -> io.Input:
    return types.Features.Input("features", tooltip="The hands, from Encode Hands.")


def run_time_controls() -> list[io.Input]:
    """Strength and range, the same on every node that steers."""
    return [
        io.Float.Input(
            "strength",
            default=1.0,
            min=0.0,
            max=2.0,
            step=0.05,
            tooltip="How strongly the hand steers the picture. 0 gives the picture of the model alone.",
        ),
        io.Float.Input(
            "start_percent",
            default=0.0,
            min=0.0,
            max=1.0,
            step=0.01,
            tooltip="Share of the sampling after which the hand begins to steer. Poses are decided early: leave it 0.",
        ),
        io.Float.Input(
            "end_percent",
            default=1.0,
            min=0.0,
            max=1.0,
            step=0.01,
            tooltip="Share of the sampling after which the model goes on alone, with more freedom in the details.",
        ),
    ]


def prompt_inputs() -> list[io.Input]:
    """Prompts and mask, which may be left out."""
    return [
        io.Conditioning.Input(
            "positive",
            optional=True,
            tooltip="The prompt. The hand's features look at it; without it they are made for no text.",
        ),
        io.Conditioning.Input(
            "negative",
            optional=True,
            tooltip="The negative prompt. Whether it gets the hand too follows how the adapter was trained.",
        ),
        io.Mask.Input(
            "mask",
            optional=True,
            tooltip="Where in the picture the hands may steer: white does, black leaves the model alone.",
        ),
    ]


def steered_outputs() -> list[io.Output]:
    return [
        io.Model.Output(id="model_out", display_name="MODEL", tooltip="The model, steered by the hands."),
        io.Conditioning.Output(id="positive_out", display_name="positive", tooltip="The prompt, marked for this node."),
        io.Conditioning.Output(
            id="negative_out", display_name="negative", tooltip="The negative prompt, marked for this node."
        ),
    ]


def steer(
    model,
    features: network.Features,
    key: str,
    strength: float,
    start_percent: float,
    end_percent: float,
    mask: torch.Tensor | None = None,
    levels: tuple[float, ...] = (),
    view: network.View = network.WHOLE,
    by_tiles: bool = False,
):
    """A clone of the MODEL which the hands steer.

    Args:
        key: the node's id.

    Raises:
        ValueError: naming the input that does not fit.
    """
    check_range(start_percent, end_percent)
    network.check_fit(features.network, model)
    if mask is not None:
        mask = pictures.check_mask(mask, "mask")
        check_count(len(mask), features.pictures)
    injection = sampling.Injection(key, features, strength, start_percent, end_percent, mask, levels, view, by_tiles)
    return sampling.patched(model, injection)


def check_range(start_percent: float, end_percent: float) -> None:
    """Raise ValueError if the range ends before it begins."""
    if start_percent > end_percent:
        raise ValueError(
            f"start_percent: {start_percent:g} lies after end_percent ({end_percent:g}), so nothing would be applied; "
            "make start_percent the smaller one, or set strength to 0."
        )


def check_count(masks: int, pictures: int) -> None:
    """Raise ValueError if it is not clear which mask belongs to which picture's hands."""
    if 1 not in (masks, pictures) and masks != pictures:
        raise ValueError(
            f"mask: there are {masks} masks, but hands of {pictures} pictures; connect one mask, or one for each "
            "picture."
        )


def marked(conditioning: list | None, key: str, role: str):
    """The conditioning for this node, or, where none came in, a sentence for whoever is connected to that output."""
    if conditioning is None:
        return ExecutionBlocker(
            f"Apply HanDrawer: its output '{role}' is connected, but nothing is connected to its input '{role}'; "
            "connect the prompt there, or take it past this node."
        )
    return sampling.tagged(conditioning, key, role)
