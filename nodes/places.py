"""Which part of which picture a call of the host's sampler shows, read from what the host and others say of it."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Extent:
    """What one call of the sampler shows of the whole latent.

    Attributes:
        pictures: for each latent of the call its number in the whole batch.
        rows, columns: which latent cells of the whole pictures it shows: neighbours, in order.
        height, width: size of a whole picture in latent cells.
    """

    pictures: tuple[int, ...]
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    height: int
    width: int

    def places(self, device: torch.device) -> Tensor:
        """[B, 3, h, w] int32: column, row and picture of each cell. Integers pass the host's casts unharmed."""
        place = torch.empty(
            len(self.pictures), 3, len(self.rows), len(self.columns), dtype=torch.int32, device=device
        )  # fmt: skip
        place[:, 0] = torch.tensor(self.columns, device=device)
        place[:, 1] = torch.tensor(self.rows, device=device)[:, None]
        place[:, 2] = torch.tensor(self.pictures, device=device)[:, None, None]
        return place


def extent(x: Tensor, options: dict, whole: torch.Size | None) -> Extent:
    """Read which part a call shows.

    Args:
        x: [B, C, h, w], the latent of the call.
        options: the call's ``transformer_options``: ``context_window`` of the host, ``ad_params`` of AnimateDiff.
        whole: shape of the latent that is being sampled, None if unknown.

    Raises:
        ValueError: a window shows cells of a picture that do not lie side by side.
    """
    shown = {axis: tuple(range(x.shape[axis])) for axis in (0, -2, -1)}
    full = {axis: x.shape[axis] for axis in (-2, -1)}
    axis, indices = sliced(x, options)
    if axis in shown and len(indices) == x.shape[axis]:
        shown[axis] = indices
        if axis in full:
            check_neighbours(indices)
            known = whole[axis] if whole is not None and len(whole) == x.ndim else 0
            full[axis] = max(known, indices[-1] + 1)
    return Extent(shown[0], shown[-2], shown[-1], full[-2], full[-1])


def sliced(x: Tensor, options: dict) -> tuple[int, tuple[int, ...]]:
    """Along which axis (0 pictures, -2 rows, -1 columns) windows are cut, and which indices this one shows."""
    window = options.get("context_window")
    indices = getattr(window, "index_list", None)
    if indices is not None:
        axis = int(getattr(window, "dim", 0) or 0)
        return (axis - x.ndim if axis else 0), tuple(int(i) for i in indices)
    animated = options.get("ad_params")
    indices = animated.get("sub_idxs") if isinstance(animated, dict) else None
    return 0, tuple(int(i) for i in indices or ())


def check_neighbours(indices: tuple[int, ...]) -> None:
    """Raise ValueError unless the cells lie side by side."""
    if indices != tuple(range(indices[0], indices[0] + len(indices))):
        raise ValueError(
            "model: a context window along the height or width shows parts of the picture that do not lie side by "
            "side, where HanDrawer cannot place a hand; set context_stride to 1 and take a schedule that is not looped."
        )
