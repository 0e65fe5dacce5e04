"""Nodes which load: the small model that comes with the project, and HanDrawer files."""

import folder_paths
from comfy_api.latest import io

from . import folders, network, types
from .outputs import STEERING


class HanDrawerLoadMini(io.ComfyNode):
    """MODEL, CLIP, VAE and HANDRAWER of the small model which comes with the project."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HanDrawerLoadMini",
            display_name="Load HanDrawer mini",
            category=STEERING,
            description=(
                "The small demonstration model that comes with HanDrawer, with its adapter: nothing is downloaded. "
                "It draws synthetic hands of 256 x 256 pixels from short prompts such as "
                "'a right hand, open, dark skin, grey background'."
            ),
            inputs=[],
            outputs=[
                io.Model.Output(id="model_out", display_name="MODEL", tooltip="The small model, for HanDrawer Apply."),
                io.Clip.Output(id="clip_out", display_name="CLIP", tooltip="Its text encoder, with its own words."),
                io.Vae.Output(id="vae_out", display_name="VAE", tooltip="Turns its latents into pictures and back."),
                types.HanDrawerModel.Output(
                    id="handrawer_out",
                    display_name="HANDRAWER",
                    tooltip="The adapter trained for the small model, for Encode Hands.",
                ),
            ],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        from .mini_model import load_mini

        model, clip, vae = load_mini(folders.MINI_WEIGHTS)
        adapter = network.load_network(folders.MINI_WEIGHTS / "handrawer.safetensors")
        return io.NodeOutput(model, clip, vae, adapter)


class HanDrawerLoad(io.ComfyNode):
    """A HanDrawer file from ``models/handrawer``."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HanDrawerLoad",
            display_name="Load HanDrawer",
            category=STEERING,
            description=(
                "A HanDrawer adapter from ComfyUI's folder models/handrawer (or the folder that extra_model_paths.yaml "
                "names under 'handrawer')."
            ),
            inputs=[
                io.Combo.Input(
                    "handrawer_name",
                    options=folder_paths.get_filename_list(folders.FOLDER),
                    tooltip="The .safetensors file. It fits one base model, which it names.",
                )
            ],
            outputs=[
                types.HanDrawerModel.Output(
                    id="handrawer_out", display_name="HANDRAWER", tooltip="The adapter, for Encode Hands."
                )
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, handrawer_name: str, **_others) -> str:
        return folders.stamp(handrawer_name)

    @classmethod
    def execute(cls, handrawer_name: str) -> io.NodeOutput:
        path = folders.handrawer_file(handrawer_name)
        try:
            return io.NodeOutput(network.load_network(path))
        except ValueError as error:
            raise ValueError(f"handrawer_name: {error}") from error
