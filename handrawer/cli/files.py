"""Pictures in and out of files, and folders that never overwrite anything."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .errors import Refusal

if TYPE_CHECKING:
    from torch import Tensor


def read_picture(path: Path) -> Tensor:
    """Read a picture file as it is meant to be seen: turned as its EXIF data say, without its alpha channel.

    Args:
        path: any format that Pillow reads; of an animation the first picture.

    Returns:
        [1, H, W, 3] float32 in [0, 1].

    Raises:
        Refusal: no such file, not a picture, a damaged one, or one that is too large to be a sane picture.
    """
    import numpy as np
    import torch
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            image.load()
            upright = ImageOps.exif_transpose(image)
            pixels = _to_rgb(upright)
    except FileNotFoundError:
        raise Refusal(f"there is no file {path}.") from None
    except IsADirectoryError:
        raise Refusal(f"{path} is a folder; name a picture file in it.") from None
    except UnidentifiedImageError:
        raise Refusal(f"{path} is not a picture that can be read; use PNG, JPEG or WebP.") from None
    except Image.DecompressionBombError:
        raise Refusal(f"{path} has more pixels than can be handled; scale it down first.") from None
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow's decoders raise for damaged files
        raise Refusal(f"{path} cannot be read as a picture ({error}); it may be damaged.") from None
    return torch.from_numpy(np.asarray(pixels, dtype=np.float32) / 255)[None]


def _to_rgb(image):
    """Pillow picture of any mode -> RGB. Sixteen-bit greys are scaled, which Pillow's own conversion would clip."""
    if image.mode.startswith("I"):
        image = image.point(lambda value: value * (1 / 257)).convert("L")
    return image.convert("RGB")


def write_picture(path: Path, picture: Tensor) -> None:
    """Write one picture as PNG.

    Args:
        path: where; the suffix names the format.
        picture: [H, W] or [H, W, 3], float in [0, 1] (values outside are clipped).
    """
    to_image(picture).save(path)


def to_image(picture: Tensor):
    """[H, W] or [H, W, 3] float in [0, 1] -> Pillow picture (greys become RGB)."""
    from PIL import Image

    levels = (picture.detach().cpu().float().clamp(0, 1) * 255).round().byte().numpy()
    return Image.fromarray(levels).convert("RGB")


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
                raise Refusal(
                    f"{folder} is a file, so it cannot be the output folder; choose another with --out."
                ) from None
            if not any(folder.iterdir()):
                return folder
        except OSError as error:
            raise Refusal(f"the output folder {folder} cannot be made ({error.strerror}); choose another.") from None
        number += 1
