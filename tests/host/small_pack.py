"""A pack of nodes for the tests' server: small MODELs in the layouts of the bases, and texts for them.

Runs inside the host. Their weights are random, so pictures mean nothing; what HanDrawer changes in them does.
"""

from typing import Any

import torch

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


NODE_CLASS_MAPPINGS = {"TestSmallModel": SmallModel, "TestSmallText": SmallText}
