"""Nodes which steer: hands through the GCN, and the features into a MODEL."""

import comfy.sd
import folder_paths
import torch
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from . import folders, network, pictures, sampling, types
from .outputs import CATEGORY

MINI = "HanDrawer mini (comes with HanDrawer)"
UNETS = "diffusion_models"


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


def check_range(start_percent: float, end_percent: float) -> None:
    """Raise ValueError if nothing lies between the two."""
    if start_percent > end_percent:
        raise ValueError(
            f"start_percent: {start_percent:g} lies after end_percent ({end_percent:g}), so nothing would be applied; "
            "make start_percent the smaller one, or set strength to 0."
        )


class HanDrawerEncodeHands(io.ComfyNode):
    """Hands through the adapter's graph network."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HanDrawerEncodeHands",
            display_name="Encode Hands (GCN)",
            category=CATEGORY,
            description=(
                "Runs the hands' meshes through the adapter's graph convolutional network. The result serves any size "
                "of latent of the same shape, any prompt, seed and strength."
            ),
            inputs=[
                types.HanDrawerModel.Input("handrawer", tooltip="From Load HanDrawer mini or Load HanDrawer."),
                types.Hands.Input(
                    "hands", tooltip="The hands, on a picture of the shape that will be made (see Place Hands)."
                ),
            ],
            outputs=[
                types.Features.Output(
                    id="features_out", display_name="features", tooltip="What HanDrawer Apply needs of the hands."
                )
            ],
        )

    @classmethod
    def execute(cls, handrawer: network.Network, hands) -> io.NodeOutput:
        return io.NodeOutput(network.encode(handrawer, hands))


class HanDrawerApply(io.ComfyNode):
    """Features into a MODEL and its prompts."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HanDrawerApply",
            display_name="Apply HanDrawer",
            category=CATEGORY,
            description=(
                "Makes the model draw the hands where they are. Connect MODEL and both prompts on their way to the "
                "sampler; several of these nodes in a row add up."
            ),
            inputs=[
                io.Model.Input("model", tooltip="The model that the adapter was trained for."),
                types.Features.Input("features", tooltip="The hands, from Encode Hands."),
                *run_time_controls(),
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
            ],
            outputs=[
                io.Model.Output(id="model_out", display_name="MODEL", tooltip="The model, steered by the hands."),
                io.Conditioning.Output(
                    id="positive_out", display_name="positive", tooltip="The prompt, marked for this node."
                ),
                io.Conditioning.Output(
                    id="negative_out", display_name="negative", tooltip="The negative prompt, marked for this node."
                ),
            ],
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
        positive: list | None = None,
        negative: list | None = None,
        mask: torch.Tensor | None = None,
    ) -> io.NodeOutput:
        check_range(start_percent, end_percent)
        network.check_fit(features.network, model)
        key = str(cls.hidden.unique_id)
        if mask is not None:
            mask = pictures.check_mask(mask, "mask")
        injection = sampling.Injection(key, features, strength, start_percent, end_percent, mask)
        return io.NodeOutput(
            sampling.patched(model, injection),
            marked(positive, key, sampling.POSITIVE),
            marked(negative, key, sampling.NEGATIVE),
        )


def marked(conditioning: list | None, key: str, role: str):
    """The conditioning for this node, or, where none came in, a sentence for whoever is connected to that output."""
    if conditioning is None:
        return ExecutionBlocker(
            f"Apply HanDrawer: its output '{role}' is connected, but nothing is connected to its input '{role}'; "
            "connect the prompt there, or take it past this node."
        )
    return sampling.tagged(conditioning, key, role)


class HanDrawerUNetLoader(io.ComfyNode):
    """A diffusion model from the host's folder with the hands' features in it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HanDrawerUNetLoader",
            display_name="Load UNet with HanDrawer (PPZP)",
            category=CATEGORY,
            description=(
                "Loads a UNet and puts the hands' features into its feature maps where the hands are, zeros elsewhere "
                "(Position-Preserving Zero Padding). The prompts need not pass it: the features are made for no text. "
                "Apply HanDrawer does the same with a model that is loaded already, and with the prompts."
            ),
            inputs=[
                io.Combo.Input(
                    "unet_name",
                    options=[MINI, *folder_paths.get_filename_list(UNETS)],
                    tooltip="A file from ComfyUI's folder models/diffusion_models, or the small model.",
                ),
                types.Features.Input("features", tooltip="The hands, from Encode Hands."),
                *run_time_controls(),
            ],
            outputs=[io.Model.Output(id="model_out", display_name="MODEL", tooltip="The UNet, steered by the hands.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls, unet_name: str, features: network.Features, strength: float, start_percent: float, end_percent: float
    ) -> io.NodeOutput:
        check_range(start_percent, end_percent)
        model = load_unet(unet_name)
        network.check_fit(features.network, model)
        key = str(cls.hidden.unique_id)
        injection = sampling.Injection(key, features, strength, start_percent, end_percent)
        return io.NodeOutput(sampling.patched(model, injection))


def load_unet(name: str):
    """The small model's UNet, or one from the host's folder.

    Raises:
        ValueError: the file is gone, or the host does not know what it is.
    """
    if name == MINI:
        from .mini_model import load_mini

        return load_mini(folders.MINI_WEIGHTS)[0]
    path = folder_paths.get_full_path(UNETS, name)
    if path is None:
        raise ValueError(f"unet_name: {name} is not in models/{UNETS} any more; put it back or choose another.")
    try:
        return comfy.sd.load_diffusion_model(path)
    except RuntimeError as error:
        raise ValueError(f"unet_name: ComfyUI cannot tell which kind of model {name} is ({error}).") from error
