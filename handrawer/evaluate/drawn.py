"""Latents that one machine drew, for another to decode and look at."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor


@dataclass(frozen=True)
class Drawn:
    """What was drawn.

    Attributes:
        latents: [N, 4, h, w] float32 by name, in the order of drawing.
        machine: that drew them, in words.
    """

    latents: dict[str, Tensor]
    machine: str

    @staticmethod
    def write(path: Path, latents: dict[str, Tensor], device: torch.device) -> None:
        """Write latents by name as a safetensors file in float16, with the device's machine in the metadata."""
        from safetensors.torch import save_file

        name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.machine()} CPU"
        metadata = {"machine": f"{name}, torch {torch.__version__}", "order": "\n".join(latents)}
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({k: v.half().contiguous() for k, v in latents.items()}, path, metadata=metadata)

    @classmethod
    def read(cls, path: Path) -> Drawn:
        """What `write` wrote."""
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            latents = {name: file.get_tensor(name).float() for name in metadata["order"].split("\n")}
        return cls(latents, metadata["machine"])
