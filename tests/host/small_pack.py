"""A pack of nodes for the tests' server: small MODELs in the layouts of the bases, texts, and a keeper of floats.

Runs inside the host. Their weights are random, so pictures mean nothing; what HanDrawer changes in them does.
"""

from pathlib import Path
from typing import Any

import folder_paths  # pyright: ignore[reportMissingImports]
import torch
from safetensors.torch import save_file

from tests.nodes.other_models import make_other
from tests.nodes.small_bases import LAYOUTS, make_model, make_unet

_made: dict[str, Any] = {}


class SmallModel:
    """A MODEL by the name of its layout, or of a kind that HanDrawer does not steer."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("MODEL",), "make", "tests"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"base": ("STRING", {"default": "sd15"})}}

    def make(self, base: str) -> tuple:
        if base not in _made:
            with torch.inference_mode(False):
                _made[base] = make_model(make_unet(base), base) if base in LAYOUTS else make_other(base)
        return (_made[base],)


class SmallText:
    """A CONDITIONING of random numbers for a layout."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("CONDITIONING",), "make", "tests"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"base": ("STRING", {"default": "sd15"}), "seed": ("INT", {"default": 0})}}

    def make(self, base: str, seed: int) -> tuple:
        generator = torch.Generator().manual_seed(seed)
        text = torch.randn(1, 77, LAYOUTS[base].context, generator=generator)
        return ([[text, {"pooled_output": torch.randn(1, 1280, generator=generator)}]],)


class KeepStitched:
    """Pictures before and after a stitch as the floats that they are, the mask, the hands and where their crops lay.

    In output/NAME.safetensors: before, after [B, H, W, 3]; mask [B, H, W]; boxes [N, 4] of the hands of the first
    picture and crops [P, 4], both (x0, y0, x1, y1) in pixels.
    """

    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE = (), "keep", "tests", True

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        kinds = {"before": "IMAGE", "after": "IMAGE", "mask": "MASK", "hands": "HANDS", "stitch": "HANDRAWER_STITCH"}
        return {"required": {**{name: (kind,) for name, kind in kinds.items()}, "name": ("STRING", {"default": "x"})}}

    def keep(self, before, after, mask, hands, stitch, name: str) -> dict:
        frame = hands.frames[0]
        size = torch.tensor([frame.width, frame.height] * 2)
        boxes = [hand.box.double() * size for hand in frame.hands]
        crops = []
        for piece in stitch.pieces:
            corners = torch.tensor([[0, 0], [piece.move.target_width, piece.move.target_height]]).double()
            crops.append(piece.move.inverse().pixels(corners).flatten())
        places = {"boxes": torch.stack(boxes), "crops": torch.stack(crops)}
        kept = {"before": before, "after": after, "mask": mask, **places}
        path = Path(folder_paths.get_output_directory()) / f"{name}.safetensors"
        save_file({key: value.cpu().contiguous() for key, value in kept.items()}, path)
        return {"ui": {"file": [path.name]}}


NODE_CLASS_MAPPINGS = {"TestSmallModel": SmallModel, "TestSmallText": SmallText, "TestKeepStitched": KeepStitched}
