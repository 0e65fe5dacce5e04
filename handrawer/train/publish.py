"""Puts the arms of a finished run into the folder that ships: diffusers layout, fp16, adapter beside it.

`python -m handrawer.train.publish RUN_FOLDER OUT_FOLDER [--base control]`, where RUN_FOLDER holds `vae/` and `arms/` as
`run` leaves them.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from ..adapter.checkpoint import save
from ..adapter.handrawer import HanDrawer
from ..adapter.unet import describe_diffusers
from ..hand.model import load_open_hand
from ..mini.modules import make_tokenizer, save_layout
from ..mini.pipeline import ADAPTER_FILE
from .diffusion import Base
from .run import load_vae


def _floats(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}


def load_base(path: Path) -> Base:
    """The text encoder and UNet of an arm, float32 in eval mode."""
    base = Base()
    base.load_state_dict(_floats(load_file(path)))
    return base.eval()


def publish(
    run: Path, out: Path, training: dict[str, Any] | None = None, negative_hand: str = "same", base_arm: str = "guided"
) -> None:
    """Write `out` from the guided arm of a run.

    Args:
        run: holds vae/ (where the run trained or copied one), arms/guided.safetensors and arms/adapter.safetensors.
        out: folder to write; files of the same names are replaced.
        training: a summary for the adapter's metadata; the step count is added.
        negative_hand: "same" or "none", what the negative rows are to get.
        base_arm: whose text encoder and UNet; "control" is for a base that an adapter is to be trained on next, the
            adapter beside it is then only where that training starts.
    """
    base = load_base(run / "arms" / f"{base_arm}.safetensors")
    torch.manual_seed(0)
    adapter = HanDrawer.create(describe_diffusers(base.unet, "v_prediction"), load_open_hand())
    adapter.config = dataclasses.replace(adapter.config, negative_hand=negative_hand)
    with safe_open(run / "arms" / "adapter.safetensors", "pt") as file:
        steps = int((file.metadata() or {}).get("step", 0))
    learned = _floats(load_file(run / "arms" / "adapter.safetensors"))
    # The mesh's buffers are kept as `create` made them: they were not learned, and the run's file has them in fp16.
    names = {name for name, _ in adapter.named_parameters()}
    adapter.load_state_dict(adapter.state_dict() | {k: v for k, v in learned.items() if k in names})
    save_layout(out, base.unet, load_vae(run / "vae"), base.text, make_tokenizer())
    summary = {"steps": steps, **(training or {})}
    save(out / ADAPTER_FILE, adapter.eval(), training=summary, dtype=torch.float16, overwrite=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--base", default="guided", choices=("guided", "control"))
    arguments = parser.parse_args()
    publish(arguments.run, arguments.out, base_arm=arguments.base)
