"""A hand model: mesh, joint tree, skinning weights and shape basis, and the free model that comes with HanDrawer."""

from __future__ import annotations

import dataclasses
import functools
import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from .joints import RIG_PARENTS

OPEN_HAND = "open"
OPEN_HAND_FILE = Path(__file__).with_name("open_hand.safetensors")
OPEN_HAND_FORMAT = "1"


@dataclass(frozen=True, eq=False)  # compared and hashed by identity: tensors have no truth value
class HandModel:
    """A right hand that can be posed and shaped; a left hand is its mirror image.

    Lengths are metres. The rest pose stands in the frame of the identity orientation: wrist joint at the origin,
    fingers up (-y), palm towards the camera (-z), thumb to +x (x right, y down, z away from the camera).

    ``V`` vertices, ``F`` triangles, ``S`` shape directions; nothing assumes a particular count.
    """

    name: str
    """``"open"`` or ``"mano"``."""
    template: Tensor
    """[V, 3] float, rest pose."""
    faces: Tensor
    """[F, 3] int64. ``cross(v1 - v0, v2 - v0)`` points out of the hand, in camera coordinates as well as in a frame
    with x right, y up, z to the viewer (the two differ by half a turn about x, which keeps cross products)."""
    shape_dirs: Tensor
    """[V, 3, S] metres per unit; a unit is about one standard deviation of adults, useful range [-2, 2]."""
    shape_names: tuple[str, ...]
    joint_template: Tensor
    """[16, 3] rig joints at rest, in the order of ``joints.RIG_JOINTS``."""
    joint_shape_dirs: Tensor
    """[16, 3, S] metres per unit."""
    weights: Tensor
    """[V, 16] skinning weights, at least 0, rows sum to 1."""
    parents: tuple[int, ...]
    """16 parents in rig order, wrist = -1: always ``joints.RIG_PARENTS``."""
    tip_vertices: Tensor
    """[5] int64, the vertex at the end of each finger, thumb to little finger."""
    pose_dirs: Tensor | None
    """[V, 3, 135] pose correctives per entry of (finger rotations - identity), row-major, as in MANO; or None."""
    parts: Tensor
    """[V] int64, 0 to 15, the rig joint with the greatest weight."""
    regions: dict[str, Tensor] = field(default_factory=dict)
    """Named sets of vertex indices, int64: ``nails``, ``forearm``, ``palm``. May be empty."""

    def __post_init__(self):
        if tuple(self.parents) != RIG_PARENTS:
            raise ValueError("A hand model's joints are a wrist and five fingers of three, thumb to little finger.")

    @property
    def shape_count(self) -> int:
        return self.shape_dirs.shape[-1]

    @property
    def posing(self) -> Posing:
        """The tensors laid out for posing; made once, unless gradients are wanted for them."""
        tensors = (self.template, self.shape_dirs, self.joint_template, self.joint_shape_dirs, self.weights)
        if any(value.requires_grad for value in tensors) or (
            self.pose_dirs is not None and self.pose_dirs.requires_grad
        ):
            return _lay_out(self)
        return self._posing

    @functools.cached_property
    def _posing(self) -> Posing:
        # Outside of a caller's inference mode: kept for callers who need gradients, too.
        with torch.inference_mode(False), torch.no_grad():
            return _lay_out(self)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> HandModel:
        """On ``device``, floating point tensors in ``dtype`` (unchanged if None); itself if it is so already."""

        def move(value: Tensor) -> Tensor:
            return value.to(device=device, dtype=dtype if value.is_floating_point() else None)

        tensors = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        tensors = {name: value for name, value in tensors.items() if isinstance(value, Tensor)}
        moved = {name: move(value) for name, value in tensors.items()}
        if all(moved[name] is tensors[name] for name in tensors):
            return self
        return dataclasses.replace(self, **moved, regions={key: move(value) for key, value in self.regions.items()})


@dataclass(frozen=True, eq=False)
class Posing:
    """A hand model's numbers as ``pose_hand`` multiplies them: one product gives vertices and joints at rest."""

    template: Tensor
    """[3 V + 48] the template's x, then its y, then its z; then the 16 joints."""
    directions: Tensor
    """[S, 3 V + 48], or [S + 135, 3 V + 48] with pose correctives."""
    weights: Tensor
    """[16, V]."""


def _lay_out(model: HandModel) -> Posing:
    directions = torch.cat([model.shape_dirs.permute(2, 1, 0).flatten(1), model.joint_shape_dirs.flatten(0, 1).mT], 1)
    if model.pose_dirs is not None:
        correctives = model.pose_dirs.permute(2, 1, 0).flatten(1)
        joints = correctives.new_zeros(len(correctives), directions.shape[1] - correctives.shape[1])
        directions = torch.cat([directions, torch.cat([correctives, joints], dim=1)])
    template = torch.cat([model.template.mT.flatten(), model.joint_template.flatten()])
    weights = model.weights / model.weights.sum(dim=1, keepdim=True)  # to one in this type of number, not in another
    return Posing(template, directions.contiguous(), weights.mT.contiguous())


_REGISTERED: dict[str, HandModel] = {}


def register_model(model: HandModel) -> None:
    """Make a model known by its name, so that hands of it can be drawn, refitted and read without saying which it is.

    A model of the same name that was registered before is replaced.

    Raises:
        ValueError: for the name "open", which belongs to the hand that ships.
    """
    if model.name == OPEN_HAND:
        raise ValueError(f"The name {OPEN_HAND!r} belongs to the hand that ships with HanDrawer: choose another name.")
    _REGISTERED[model.name] = model.to("cpu", torch.float32)


def known_model(name: str) -> HandModel | None:
    """The hand model of that name, float32 on the CPU: the open hand, or one that was registered; else None."""
    return load_open_hand() if name == OPEN_HAND else _REGISTERED.get(name)


def known_models() -> tuple[str, ...]:
    """The names that ``known_model`` knows now."""
    return (OPEN_HAND, *_REGISTERED)


@functools.lru_cache(maxsize=1)
def load_open_hand() -> HandModel:
    """The free hand that ships with HanDrawer (MakeHuman's right hand, CC0), float32 on the CPU, cached.

    Raises:
        FileNotFoundError, ValueError: if the file that ships with HanDrawer is missing or is another format.
    """
    from safetensors import safe_open  # at first use, so that importing the library costs nothing

    if not OPEN_HAND_FILE.is_file():
        raise FileNotFoundError(
            f"The hand model {OPEN_HAND_FILE.name} is missing beside {Path(__file__).name}: install HanDrawer again."
        )
    with safe_open(str(OPEN_HAND_FILE), framework="pt") as file:
        metadata = file.metadata() or {}
        names = file.keys()
        tensors = {name: file.get_tensor(name) for name in names}
    if metadata.get("format") != OPEN_HAND_FORMAT:
        raise ValueError(
            f"{OPEN_HAND_FILE.name} has format {metadata.get('format')!r}, this HanDrawer reads "
            f"{OPEN_HAND_FORMAT!r}: install HanDrawer again."
        )
    return _from_tensors(tensors, metadata)


def _from_tensors(tensors: dict[str, Tensor], metadata: dict[str, str]) -> HandModel:
    prefix = "region."
    weights = tensors["weights"]
    return HandModel(
        name=metadata["name"],
        template=tensors["template"],
        faces=tensors["faces"].long(),
        shape_dirs=tensors["shape_dirs"],
        shape_names=tuple(json.loads(metadata["shape_names"])),
        joint_template=tensors["joint_template"],
        joint_shape_dirs=tensors["joint_shape_dirs"],
        weights=weights / weights.sum(dim=1, keepdim=True),
        parents=RIG_PARENTS,
        tip_vertices=tensors["tip_vertices"].long(),
        pose_dirs=None,
        parts=weights.argmax(dim=1),
        regions={key[len(prefix) :]: value.long() for key, value in tensors.items() if key.startswith(prefix)},
    )
