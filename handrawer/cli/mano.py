"""`python -m handrawer mano FILE [OUT]`: a MANO file kept as safetensors."""

from __future__ import annotations

import argparse

from .errors import Refusal
from .progress import import_libraries


def run(arguments: argparse.Namespace) -> int:
    """Read the file, running nothing that it says, and write it beside itself or to OUT."""
    import_libraries("torch")
    from ..hand.mano_files import ManoError, read_mano, save_mano

    out = arguments.out or arguments.file.with_suffix(".safetensors")
    try:
        mano = read_mano(arguments.file)
        save_mano(mano, out, overwrite=arguments.overwrite)
    except ManoError as error:
        raise Refusal(str(error)) from error
    vertices, _, shapes = mano.shapedirs.shape
    print(
        f"Written to {out}: a {mano.side} hand of {vertices} vertices, {shapes} shapes and "
        f"{len(mano.hands_components)} pose components. MANO's licence (non-commercial use) goes with it."
    )
    return 0
