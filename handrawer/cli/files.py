"""Pictures from files, and folders that never overwrite anything."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .errors import Refusal

if TYPE_CHECKING:
    from torch import Tensor


def read_picture(path: Path) -> Tensor:
    """A picture file as [1, H, W, 3] float32 in [0, 1], see `render.pictures.load_picture`.

    Raises:
        Refusal: no such file, or not a picture.
    """
    from ..render.pictures import load_picture

    try:
        return load_picture(path)
    except (FileNotFoundError, ValueError) as error:
        raise Refusal(str(error)) from None


def new_folder(wanted: Path) -> Path:
    """Make a folder to write into: `wanted`, or `wanted_2`, `wanted_3`, ... where that one has files already.

    Args:
        wanted: the folder asked for; its parents are made too. An existing empty folder is used.

    Returns:
        The folder, which exists and is empty.

    Raises:
        Refusal: a file is in the way, or the folder cannot be made.
    """
    number = 1
    while True:
        folder = wanted if number == 1 else wanted.with_name(f"{wanted.name}_{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            if not folder.is_dir():
                raise Refusal(f"{folder} is a file, not a folder to write into; choose another with --out.") from None
            if not any(folder.iterdir()):
                return folder
        except OSError as error:
            raise Refusal(f"The output folder {folder} cannot be made ({error.strerror}); choose another.") from None
        number += 1
