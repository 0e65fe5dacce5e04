"""The control base's file: a base of the small model in eight bits, half the size of one in half precision."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn


def read_control(path: str | Path) -> dict[str, Tensor]:
    """The weights of a file of `store_control`, float32 by name."""
    from safetensors.torch import load_file

    stored = load_file(path)
    weights = {k: v.float() for k, v in stored.items() if not k.endswith(".scale") and k + ".scale" not in stored}
    for key in (k for k in stored if k + ".scale" in stored):
        scale = stored[key + ".scale"].float()
        weights[key] = stored[key].float() * scale.reshape(-1, *[1] * (stored[key].ndim - 1))
    return weights


def store_control(base: nn.Module, path: Path) -> None:
    """Write a base in eight bits with a scale for each row of its matrices; vectors stay in fp16."""
    from safetensors.torch import save_file

    stored: dict[str, Tensor] = {}
    for key, value in base.state_dict().items():
        if value.is_floating_point() and value.ndim > 1:
            rows = value.float().flatten(1)
            scale = rows.abs().amax(1).clamp_min(1e-12) / 127
            stored[key] = (rows / scale[:, None]).round().to(torch.int8).reshape(value.shape).contiguous()
            stored[key + ".scale"] = scale
        else:
            stored[key] = (value.half() if value.is_floating_point() else value).contiguous().clone()
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(stored, path)
