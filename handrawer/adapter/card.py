"""What a HanDrawer file is, for a person: read from its header, without its weights."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from .checkpoint import read_header

PREDICTIONS = {"epsilon": "noise (epsilon)", "v_prediction": "velocity (v-prediction)"}
NEGATIVE = {"same": "the same hands as the prompt", "none": "no hands"}


def card_values(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The card's lines as JSON values, in reading order. Raises CheckpointError with a sentence."""
    path = Path(path)
    metadata, header = read_header(path)
    config, unet = metadata.config, metadata.config.unet
    trained = [stored for name, stored in header.items() if name.endswith((".weight", ".bias"))]  # the rest: the mesh
    return {
        "file": path.name,
        "size in MB": round(path.stat().st_size / 1e6, 1),
        "format version": metadata.format_version,
        "made for": unet.title,
        "text width": unet.context_width,
        "trained to predict": PREDICTIONS.get(unet.prediction, unet.prediction),
        "acts after input blocks": [site.block for site in unet.sites],
        "levels": len(unet.levels),
        "hand model": f"{config.hand_model} ({config.graph.nodes[0]} vertices, mesh {config.topology})",
        "negative prompt gets": NEGATIVE[config.negative_hand],
        "network": f"{config.width} channels, {config.heads} heads, {config.blocks} blocks a level",
        "hand raster": f"{config.raster} x {config.raster}",
        "parameters": sum(math.prod(stored.shape) for stored in trained),
        "stored as": ", ".join(sorted({stored.dtype for stored in trained})),
        "training": metadata.training,
    }


def card(path: str | os.PathLike[str]) -> str:
    """The card as plain text, one fact a line, training below. Raises CheckpointError with a sentence."""
    values = card_values(path)
    training = values.pop("training")
    lines = [f"{name}: {_said(value)}" for name, value in values.items()]
    if not training:
        return "\n".join([*lines, "training: the file does not tell"])
    return "\n".join([*lines, "training:", *(f"  {name}: {_said(value)}" for name, value in training.items())])


def _said(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, list):
        return ", ".join(_said(entry) for entry in value)
    return json.dumps(value, ensure_ascii=False)
