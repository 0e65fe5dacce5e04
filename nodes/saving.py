"""A node that saves pictures which say that a model made them."""

import json
from pathlib import Path
from typing import Any

import folder_paths
import torch
from comfy.cli_args import args
from comfy_api.latest import io, ui

from ..handrawer.provenance import NONE, png_metadata
from ..handrawer.provenance import SOURCES as DIGITAL_SOURCES
from . import pictures
from .outputs import PICTURES, image_output


class HanDrawerSaveImage(io.ComfyNode):
    """Pictures to files that tell their origin."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HanDrawerSaveImage",
            display_name="Save Image (with origin)",
            category=PICTURES,
            description=(
                "Saves pictures as PNG to ComfyUI's output folder, with the workflow as Save Image does it, and with "
                "the IPTC mark that a model made them: what platforms and laws ask of generated pictures."
            ),
            is_output_node=True,
            inputs=[
                io.Image.Input("images", tooltip="The pictures to save."),
                io.String.Input(
                    "filename_prefix", default="HanDrawer",
                    tooltip="The files' name; a number is added. Folders and words like %year% work as in Save Image.",
                ),
                io.Combo.Input(
                    "origin", options=list(DIGITAL_SOURCES),
                    tooltip="made by a model; a photo with parts made by a model, as after a repair; or no mark.",
                ),
            ],
            outputs=[image_output("images", "The same pictures, to go on with.")],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
        )  # fmt: skip

    @classmethod
    def execute(cls, images: torch.Tensor, filename_prefix: str, origin: str) -> io.NodeOutput:
        checked = pictures.check_image(images, "images")
        height, width = checked.shape[1:3]
        folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(
            filename_prefix, folder_paths.get_output_directory(), width, height
        )
        workflow = {} if args.disable_metadata else _workflow(cls.hidden.prompt, cls.hidden.extra_pnginfo)
        saved = []
        for number, picture in enumerate(checked):
            file = f"{name.replace('%batch_num%', str(number))}_{counter:05}_.png"
            _write(Path(folder) / file, picture, workflow, origin)
            saved.append(ui.SavedResult(file, subfolder, io.FolderType.output))
            counter += 1
        return io.NodeOutput(images, ui={"images": saved})


def _workflow(prompt: Any, extra: Any) -> dict[str, str]:
    """The texts of the host's own PNG files."""
    texts = {} if prompt is None else {"prompt": json.dumps(prompt)}
    return texts | {key: json.dumps(value) for key, value in (extra or {}).items()}


def _write(path: Path, picture: torch.Tensor, workflow: dict[str, str], origin: str) -> None:
    from PIL import Image

    # As the host's own node rounds, so that both save the same pixels.
    pixels = (picture.cpu().numpy() * 255.0).clip(0, 255).astype("uint8")
    told = png_metadata(workflow, DIGITAL_SOURCES[origin] if origin != NONE else None)
    Image.fromarray(pixels).save(path, pnginfo=told, compress_level=4)
