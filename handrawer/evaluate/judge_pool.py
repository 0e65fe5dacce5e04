"""Pairs of sound and malformed hands, and what the judge's network is shown of them: in memory and in files."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from ..estimate.networks import HAND_SIDE
from ..mini.random_table import uniforms
from .judge_network import CELLS, Seen, seen_in
from .judge_scenes import TRAINING_KINDS, Pairs, processed
from .malformed import KINDS

SEED = 303  # of the training scenes; the logistic model's are judge_fit's, the test's others again


def save_pairs(pairs: Pairs, path: Path) -> None:
    from safetensors.torch import save_file

    part = path.with_suffix(".part")
    save_file({name: value.cpu().contiguous() for name, value in vars(in_bytes(pairs)).items()}, part)
    part.rename(path)


def read_pairs(folder: Path, device: str) -> list[Pairs]:
    """The pairs of a folder's parts, in 8 bits."""
    from safetensors.torch import load_file

    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ValueError(f"There are no pairs in {folder}: draw them first.")
    return [Pairs(**load_file(path, device=device)) for path in files]


def in_bytes(pairs: Pairs) -> Pairs:
    sound, malformed, wrong = (
        (value * 255).round().to(torch.uint8) for value in (pairs.sound, pairs.malformed, pairs.wrong)
    )
    return Pairs(sound, malformed, wrong, pairs.kind)


class Pool:
    """Pairs in memory, in 8 bits."""

    def __init__(self, parts: list[Pairs]):
        self.sound, self.malformed, self.wrong, self.kind = (
            torch.cat([getattr(part, name) for part in parts]) for name in ("sound", "malformed", "wrong", "kind")
        )

    def __len__(self) -> int:
        return len(self.kind)

    def batch(self, rows: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Crops [2 n, 3, S, S] of pairs, whether each is sound [2 n], and what is wrong [2 n, CELLS, CELLS].

        u: [2 n, 32] random numbers; without columns the crops are taken as they are.
        """
        crops = torch.cat([self.sound[rows], self.malformed[rows]]).float() / 255
        wrong = torch.cat([torch.zeros_like(self.wrong[rows]), self.wrong[rows]]).float() / 255
        good = (torch.arange(len(crops), device=crops.device) < len(rows)).float()
        if u.shape[1]:
            crops, wrong = moved(crops, wrong, u[:, 28:])
            mirrored = (u[:, 20] < 0.5)[:, None, None]  # as `processed` does it
            crops, wrong = processed(crops, u[:, :28]), torch.where(mirrored, wrong.flip(-1), wrong)
        return crops, good, wrong


SEEN = ("fine", "coarse", "drawn")


class Cache:
    """What the judge's network is shown of pairs, some versions of each, and what it should say of them.

    Args:
        parts: of ``seen_of``, or read from the files of ``cache``.
    """

    def __init__(self, parts: list[dict[str, Tensor]]):
        most = max(part["fine"].shape[2] for part in parts)
        self.values: dict[str, Tensor] = {}
        for name, first in parts[0].items():
            shape = list(first.shape)
            shape[0] = sum(len(part["kind"]) for part in parts)
            if name != "kind":
                shape[2] = most
            self.values[name] = first.new_empty(shape)
        at = 0
        while parts:  # one after the other, so that not everything is in memory twice
            part = parts.pop(0)
            rows = slice(at, at + len(part["kind"]))
            for name, value in part.items():  # parts with fewer versions show theirs again
                self.values[name][rows] = value if name == "kind" else value[:, :, torch.arange(most) % value.shape[2]]
            at = rows.stop

    def __len__(self) -> int:
        return len(self.values["kind"])

    @property
    def kinds(self) -> tuple[str, ...]:
        """Which kinds of malformation there are."""
        names = (*TRAINING_KINDS, *KINDS)
        return tuple(names[number] for number in self.values["kind"].unique().tolist())

    def batch(self, rows: Tensor, u: Tensor) -> tuple[Seen, Tensor, Tensor]:
        """What is seen of 2 n crops, whether each is sound [2 n], and what is wrong [2 n, CELLS, CELLS].

        u: [2 n, 1] random numbers, which pick the versions.
        """
        values, count = self.values, self.values["fine"].shape[2]
        version = (u[:, 0] * count).long().clamp_max(count - 1)
        which = torch.cat([rows, rows]), torch.cat([torch.zeros_like(rows), torch.ones_like(rows)]), version
        fine, coarse, drawn = (values[name][which].float() for name in SEEN)
        return (fine, coarse, drawn / 255), (which[1] == 0).float(), values["wrong"][which].float() / 255


@torch.no_grad()
def seen_of(pairs: Pairs, number: int, versions: int, at_once: int = 16) -> dict[str, Tensor]:
    """[N, 2, versions, ...] what is seen of sound and malformed hands, in 16 or 8 bits, each version processed anew.

    number: of the part, which together with the seed decides what happens to each picture.
    """
    pool, found = Pool([pairs]), []
    rows = torch.arange(len(pool), device=pairs.kind.device)
    for version in range(versions):
        offset = number + 100_000 * version
        u = uniforms(SEED + 2, torch.arange(2 * len(rows), device=rows.device), 32, stream=63 + offset)
        torch.manual_seed(offset)
        crops, _, wrong = pool.batch(rows, u)
        fine, coarse, drawn = (torch.cat(part) for part in zip(*map(seen_in, crops.split(at_once)), strict=True))
        found.append((fine.half(), coarse.half(), _bytes(drawn), _bytes(wrong)))
    values = {
        name: rearrange(torch.stack(parts), "v (two n) ... -> n two v ...", two=2)
        for name, parts in zip((*SEEN, "wrong"), zip(*found, strict=True), strict=True)
    }
    return values | {"kind": pairs.kind}


def _bytes(values: Tensor) -> Tensor:
    return (values * 255).round().to(torch.uint8)


def cache(pool: Path, folder: Path, versions: int, seconds: float = float("inf")) -> None:
    """Write what is seen of a pool's pairs, a file for each of its parts; goes on where it was stopped."""
    from safetensors.torch import load_file, save_file

    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    for path in sorted(pool.glob("*.safetensors")):
        target = folder / path.name
        if target.is_file() or time.monotonic() - began > seconds:
            continue
        values = seen_of(Pairs(**load_file(path)), int(path.stem), versions)
        save_file({name: value.contiguous() for name, value in values.items()}, target.with_suffix(".part"))
        target.with_suffix(".part").rename(target)


def read_cache(*folders: Path) -> Cache:
    """What ``cache`` wrote into folders.

    Raises:
        ValueError: where there is nothing.
    """
    from safetensors.torch import load_file

    files = [path for folder in folders for path in sorted(folder.glob("*.safetensors"))]
    if not files:
        raise ValueError(f"There is nothing in {folders[0]}: make it with the command cache first.")
    return Cache([load_file(path) for path in files])


def moved(crops: Tensor, wrong: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """A little turned, scaled and shifted: crops and maps alike; u [N, 4]."""
    v = u * 2 - 1
    angle, scale = 0.12 * v[:, 0], torch.exp(0.08 * v[:, 1])
    cos, sin = angle.cos() * scale, angle.sin() * scale
    rows = torch.stack([cos, -sin, 0.06 * v[:, 2], sin, cos, 0.06 * v[:, 3]], dim=1).unflatten(1, (2, 3))
    grid = F.affine_grid(rows, [len(crops), 3, HAND_SIDE, HAND_SIDE], align_corners=False)
    coarse = F.affine_grid(rows, [len(crops), 1, CELLS, CELLS], align_corners=False)
    found = F.grid_sample(wrong[:, None], coarse, align_corners=False)[:, 0]
    return F.grid_sample(crops, grid, align_corners=False), found
