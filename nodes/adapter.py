"""Nodes which steer: hands through the GCN, and the features into a MODEL."""

from pickle import UnpicklingError

import comfy.sd
import folder_paths
import torch
from comfy_api.latest import io
from safetensors import SafetensorError

from . import folders, network, sampling, steering, types
from .outputs import STEERING, note_output

UNETS = "diffusion_models"
# What the host's own loader of diffusion models offers, under the same names.
WEIGHT_TYPES = {
    "default": {},
    "fp8_e4m3fn": {"dtype": torch.float8_e4m3fn},
    "fp8_e4m3fn_fast": {"dtype": torch.float8_e4m3fn, "fp8_optimizations": True},
    "fp8_e5m2": {"dtype": torch.float8_e5m2},
}


class HanDrawerEncodeHands(io.ComfyNode):
    """Hands through the adapter's graph network."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HanDrawerEncodeHands",
            display_name="Encode Hands (GCN)",
            category=STEERING,
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
                ),
                note_output(),
            ],
        )

    @classmethod
    def execute(cls, handrawer: network.Network, hands) -> io.NodeOutput:
        hands, note = network.refitted(handrawer, hands)
        return io.NodeOutput(network.encode(handrawer, hands), note)


class HanDrawerApply(io.ComfyNode):
    """Features into a MODEL and its prompts."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HanDrawerApply",
            display_name="Apply HanDrawer",
            category=STEERING,
            description=(
                "Makes the model draw the hands where they are. Connect MODEL and both prompts on their way to the "
                "sampler; several of these nodes in a row add up."
            ),
            inputs=[
                io.Model.Input("model", tooltip="The model that the adapter was trained for."),
                steering.features_input(),
                *steering.run_time_controls(),
                *steering.prompt_inputs(),
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
        positive: list | None = None,
        negative: list | None = None,
        mask: torch.Tensor | None = None,
    ) -> io.NodeOutput:
        key = str(cls.hidden.unique_id)
        return io.NodeOutput(
            steering.steer(model, features, key, strength, start_percent, end_percent, mask),
            steering.marked(positive, key, sampling.POSITIVE),
            steering.marked(negative, key, sampling.NEGATIVE),
        )


class HanDrawerUNetLoader(io.ComfyNode):
    """A diffusion model from the host's folder with the hands' features in it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HanDrawerUNetLoader",
            display_name="Load UNet with HanDrawer (PPZP)",
            category=STEERING,
            description=(
                "Loads a UNet and puts the hands' features into its feature maps where the hands are, zeros elsewhere "
                "(Position-Preserving Zero Padding). The prompts need not pass it: the features are made for no text. "
                "Apply HanDrawer does the same with a model that is loaded already, and with the prompts."
            ),
            inputs=[
                io.Combo.Input(
                    "unet_name",
                    options=[folders.MINI, *folder_paths.get_filename_list(UNETS)],
                    tooltip="A file from ComfyUI's folder models/diffusion_models, or the small model.",
                ),
                steering.features_input(),
                *steering.run_time_controls(),
                io.Combo.Input(
                    "weight_dtype",
                    options=list(WEIGHT_TYPES),
                    default="default",
                    optional=True,
                    tooltip="How the file's weights are kept in memory: fp8 needs half of it and costs some quality.",
                ),
            ],
            outputs=[io.Model.Output(id="model_out", display_name="MODEL", tooltip="The UNet, steered by the hands.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        unet_name: str,
        features: network.Features,
        strength: float,
        start_percent: float,
        end_percent: float,
        weight_dtype: str = "default",
    ) -> io.NodeOutput:
        model = load_unet(unet_name, weight_dtype)
        key = str(cls.hidden.unique_id)
        return io.NodeOutput(steering.steer(model, features, key, strength, start_percent, end_percent))


def load_unet(name: str, weight_dtype: str = "default"):
    """The small model's UNet, or one from the host's folder.

    Args:
        weight_dtype: one of WEIGHT_TYPES; the small model is always kept as it is.

    Raises:
        ValueError: the file is gone or damaged, or the host does not know what it is.
    """
    if name == folders.MINI:
        from .mini_model import load_mini

        return load_mini(folders.MINI_WEIGHTS)[0]
    path = folder_paths.get_full_path(UNETS, name)
    if path is None:
        raise ValueError(f"unet_name: {name} is not in models/{UNETS} any more; put it back or choose another.")
    try:
        return comfy.sd.load_diffusion_model(path, model_options=dict(WEIGHT_TYPES[weight_dtype]))
    except (RuntimeError, ValueError, OSError, SafetensorError, UnpicklingError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"unet_name: ComfyUI cannot load {name} as a diffusion model ({first}); choose another file, or get this "
            "one again."
        ) from error
