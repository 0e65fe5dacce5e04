"""Conversions at the door: the host's IMAGE and MASK are float [B, H, W, C] and [B, H, W] in 0..1."""

from torch import Tensor


def check_image(image: Tensor, name: str) -> Tensor:
    """An IMAGE as float32 [B, H, W, 3]; alpha is dropped, grey is repeated.

    Raises:
        ValueError: naming the input, if it is no IMAGE.
    """
    if not isinstance(image, Tensor) or image.ndim != 4 or image.shape[-1] not in (1, 3, 4) or 0 in image.shape:
        shape = list(image.shape) if isinstance(image, Tensor) else type(image).__name__
        raise ValueError(f"{name}: this is no picture ({shape}); connect an IMAGE of shape [batch, height, width, 3].")
    return image[..., :3].float().expand(*image.shape[:3], 3)


def check_mask(mask: Tensor, name: str) -> Tensor:
    """A MASK as float32 [B, H, W] in 0..1; a single one may come without the batch's axis.

    Raises:
        ValueError: naming the input, if it is no MASK.
    """
    if not isinstance(mask, Tensor) or mask.ndim not in (2, 3) or 0 in mask.shape:
        shape = list(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
        raise ValueError(f"{name}: this is no mask ({shape}); connect a MASK of shape [batch, height, width].")
    return mask.reshape(-1, *mask.shape[-2:]).float().clamp(0, 1)
