"""Nodes from hands to pictures."""

import comfy.model_management as mm
import torch
from comfy_api.latest import io

from ..handrawer.hand.hands import Hands
from . import pictures, placing, types
from .outputs import CATEGORY, image_output


class HanDrawerRenderHands(io.ComfyNode):
    """Hands to pictures."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HanDrawerRenderHands",
            display_name="Render Hands",
            category=CATEGORY,
            description=(
                "Draws the hands as ControlNets know them: depth, normals, parts, skeleton, mask. No hands give black "
                "pictures and an empty mask."
            ),
            inputs=[
                types.Hands.Input("hands", tooltip="The hands; the pictures have the size that the hands lie on."),
                io.Combo.Input(
                    "depth_range",
                    options=["picture", "hand", "batch"],
                    tooltip="Which depths run from dark to bright: those of all hands of a picture, of each hand by "
                    "itself, or of all pictures of the batch.",
                ),
                io.Combo.Input(
                    "normal_colours",
                    options=["bae", "opengl"],
                    tooltip="bae: as ControlNet's normal_bae has them, red to the left. opengl: red to the right.",
                ),
                io.Image.Input("image", optional=True, tooltip="The picture below the overlay; black without."),
            ],
            outputs=[
                image_output("depth", "Near is bright, the background black."),
                image_output("normals", "The direction that the surface faces, as a colour."),
                image_output("parts", "Palm and finger bones, each in its colour."),
                image_output("skeleton", "The 21 joints in OpenPose's colours."),
                io.Mask.Output(id="mask_out", display_name="mask", tooltip="Where the hands are."),
                image_output("overlay", "The meshes over the picture."),
            ],
        )

    @classmethod
    def execute(
        cls, hands: Hands, depth_range: str, normal_colours: str, image: torch.Tensor | None = None
    ) -> io.NodeOutput:
        from ..handrawer.render.maps import render_hands
        from ..handrawer.render.overlay import draw_overlay
        from ..handrawer.render.skeleton import draw_skeleton

        if image is None:
            below = torch.zeros(len(hands.frames), hands.frames[0].height, hands.frames[0].width, 3)
        else:
            below = pictures.check_image(image, "image").cpu()
            placing.check_sizes(hands, below)
        device = mm.get_torch_device()
        with torch.inference_mode(False), torch.no_grad():
            maps = render_hands(
                hands,
                depth_range=depth_range,
                normals=normal_colours,
                device=device if device.type == "cuda" else "cpu",  # other devices lack what the rasteriser needs
            )
            skeleton = draw_skeleton(hands)
            overlay = draw_overlay(below, hands)
        depth = maps.depth[..., None].expand(*maps.depth.shape, 3)
        found = (depth, maps.normals, maps.parts, skeleton, maps.mask, overlay)
        return io.NodeOutput(*(picture.to(mm.intermediate_device()) for picture in found))
