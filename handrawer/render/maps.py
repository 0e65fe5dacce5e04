"""Depth, normal, part and mask pictures of hands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ..hand.hands import Frame, Hands
from ..hand.model import HandModel
from .rasterise import NEAR, Covered, interpolate_covered, rasterise_covered
from .scene import Scene, build_scene, frames_of

LAYERS = ("depth", "normals", "parts", "mask", "visible")

FAR_VALUE = 0.2
"""Brightness of the farthest point of a hand in a depth picture, so that it stands out from the black background."""

NORMAL_SIGNS = {"bae": (-1.0, -1.0, -1.0), "opengl": (1.0, -1.0, -1.0)}
"""Signs that turn a normal of the camera frame (x right, y down, z away) into red, green and blue."""

NORMAL_BACKGROUND = (0.5, 0.5, 1.0)
"""The background of a normal picture faces the viewer, as ControlNet's annotators leave it."""

# Five hues, one a finger, each in three tones from base to tip; the palm is grey. tests/render/test_maps.py checks that
# any two lie well apart in CIELAB.
PART_COLOURS = (
    (0.62, 0.62, 0.62),  # palm
    (0.55, 0.00, 0.00), (1.00, 0.00, 0.00), (1.00, 0.62, 0.62),  # thumb, red
    (0.50, 0.32, 0.00), (1.00, 0.55, 0.00), (1.00, 0.95, 0.30),  # index finger, brown to yellow
    (0.00, 0.30, 0.05), (0.00, 0.62, 0.10), (0.45, 1.00, 0.35),  # middle finger, green
    (0.00, 0.08, 0.55), (0.00, 0.45, 1.00), (0.45, 0.95, 1.00),  # ring finger, blue
    (0.35, 0.00, 0.42), (0.80, 0.00, 0.85), (0.95, 0.65, 1.00),  # little finger, violet
)  # fmt: skip
"""16 colours (red, green, blue in 0..1) in the order of joints.RIG_JOINTS; the background is black."""


@dataclass(frozen=True)
class Maps:
    """Pictures of the hands of B pictures, all float32 in 0..1.

    depth    [B, H, W] near bright, background 0
    normals  [B, H, W, 3]
    parts    [B, H, W, 3] the 16 PART_COLOURS, background black
    mask     [B, H, W] share of each pixel that hands cover
    visible  B tensors [hands of the picture, H, W], share of each pixel where that hand is the nearest; zero for a
             disabled hand, so that the places are those of the list of hands
    """

    depth: Tensor
    normals: Tensor
    parts: Tensor
    mask: Tensor
    visible: list[Tensor]


def render_hands(hands: Hands | Frame, width: int | None = None, height: int | None = None, **options) -> Maps:
    """All layers at once; arguments as in render_layers."""
    layers = render_layers(hands, LAYERS, width, height, **options)
    return Maps(**layers)


def render_layers(
    hands: Hands | Frame,
    layers: Iterable[str],
    width: int | None = None,
    height: int | None = None,
    *,
    antialias: int = 2,
    depth_range: str | tuple[float, float] = "picture",
    normals: str = "bae",
    models: Mapping[str, HandModel] | None = None,
    device: torch.device | str | None = None,
    max_samples: int = 2**22,
) -> dict:
    """Draw the wanted layers of the enabled hands: a dict from the layer's name to what Maps holds under it.

    hands          one picture's hands, or those of a batch
    layers         any of LAYERS; what is not asked for costs nothing
    width, height  pixels of the pictures; hands of a picture of another size are placed in it uniformly, centred, as
                   a whole. None: the size of the hands' own picture
    antialias      samples a pixel along each axis, 1 to 8, averaged by area. 1 gives hard edges and pure part colours
    depth_range    which depths run from FAR_VALUE (far) to 1 (near): those of all hands of a "picture" (hands keep
                   their distance to each other), of each "hand" (all detail of every hand), of all pictures of the
                   "batch" (a video does not flicker), or a pair (near, far) in metres. Between them the brightness is
                   linear in 1 / depth, as the depth networks behind ControlNet's pictures predict it. Where hands have
                   an order of their own (z_order), those in front are moved nearer until they are, so that the picture
                   tells one story; not with a pair, which stays as given
    normals        "bae", the colours of ControlNet 1.1's normal_bae: blue to the viewer, red to the left of the
                   picture, green up; or "opengl", the same with red to the right
    models         hand models by name, for hands of another model than "open"
    max_samples    pictures are drawn in bands of at most this many samples, which bounds the memory

    No hands give black pictures (normals: NORMAL_BACKGROUND). Raises ValueError for an unknown option or layer.
    """
    wanted = tuple(layers)
    _check(wanted, antialias, depth_range, normals)
    frames = frames_of(hands, width, height)
    scenes = [build_scene(frame, models, device) for frame in frames]
    ranges = _brightness(scenes, depth_range)
    pictures = []
    for frame, scene, brightness in zip(frames, scenes, ranges, strict=True):
        picture = _blank(wanted, frame, scene)
        for top, left, covered in _bands(scene, antialias, max_samples):
            values = _resolve(covered, scene, wanted, brightness, normals)
            for name, samples in values.items():
                band = _average(samples, antialias)
                picture[name][:, top : top + band.shape[1], left : left + band.shape[2]] = band
        if "visible" in picture:
            full = torch.zeros(len(frame.hands), frame.height, frame.width, device=picture["visible"].device)
            full[list(scene.places)] = picture["visible"]
            picture["visible"] = full
        pictures.append(picture)
    return {name: _gather(name, [picture[name] for picture in pictures], frames) for name in wanted}


def _check(layers: Sequence[str], antialias: int, depth_range, normals: str) -> None:
    for layer in layers:
        if layer not in LAYERS:
            raise ValueError(f'There is no layer "{layer}": choose from {", ".join(LAYERS)}.')
    if not 1 <= antialias <= 8:
        raise ValueError(f"antialias must be 1 to 8 samples along each axis, not {antialias}.")
    if normals not in NORMAL_SIGNS:
        raise ValueError(f'There is no normal convention "{normals}": choose from {", ".join(NORMAL_SIGNS)}.')
    if isinstance(depth_range, str):
        if depth_range not in ("picture", "hand", "batch"):
            raise ValueError(f'depth_range must be "picture", "hand", "batch" or (near, far), not "{depth_range}".')
    elif not 0 < depth_range[0] < depth_range[1]:
        raise ValueError(f"depth_range must be (near, far) in metres with 0 < near < far, not {depth_range}.")


def _brightness(scenes: Sequence[Scene], depth_range: str | tuple[float, float]) -> list[tuple[Tensor, Tensor]]:
    """For each scene ([N] factor, [N] offset): the brightness of a sample of mesh n is factor / depth + offset."""
    extents = []
    for scene in scenes:
        depth = F.pad(scene.vertices[..., 2], (0, 1))  # a vertex never seen: without hands there are none
        seen = depth > NEAR
        low = torch.where(seen, 1 / depth, torch.inf).amin(1)
        high = torch.where(seen, 1 / depth, -torch.inf).amax(1)
        shift = torch.zeros_like(low)
        if scene.order is not None and isinstance(depth_range, str):
            shift = _shifts(low, high, scene.order)
        extents.append((low + shift, high + shift, shift))
    if not isinstance(depth_range, str):
        near, far = depth_range
        extents = [(torch.full_like(s, 1 / far), torch.full_like(s, 1 / near), s) for _, _, s in extents]
    elif depth_range != "hand":
        groups = [extents] if depth_range == "batch" else [[extent] for extent in extents]
        extents = [extent for group in groups for extent in _joined(group)]
    result = []
    for low, high, shift in extents:
        size = high - low
        # A hand without any depth (seen is one plane) is as near as can be.
        flat = ~(size > 1e-6)
        factor = torch.where(flat, 0, (1 - FAR_VALUE) / size)
        result.append((factor, torch.where(flat, 1, FAR_VALUE + factor * (shift - low))))
    return result


def _joined(group: list[tuple[Tensor, Tensor, Tensor]]) -> list[tuple[Tensor, Tensor, Tensor]]:
    lows, highs = torch.cat([low for low, _, _ in group]), torch.cat([high for _, high, _ in group])
    if not lows.numel():
        return group
    return [(lows.amin().expand_as(s), highs.amax().expand_as(s), s) for _, _, s in group]


def _shifts(low: Tensor, high: Tensor, order: Tensor) -> Tensor:
    """What to add to 1 / depth of each hand so that no hand of a lower order is farther than one of a higher order."""
    shift = torch.zeros_like(low)
    behind = torch.full((), -torch.inf, device=low.device)
    for rank in torch.unique(order).flip(0):
        mine = order == rank
        step = (behind - low[mine].amin()).clamp(min=0)
        shift[mine] = step
        behind = torch.maximum(behind, high[mine].amax() + step)
    return shift


def _blank(layers: Sequence[str], frame: Frame, scene: Scene) -> dict[str, Tensor]:
    """Channels first: [C, H, W] for each layer, as the background is."""
    channels = {"depth": 1, "normals": 3, "parts": 3, "mask": 1, "visible": len(scene.places)}
    device = scene.vertices.device
    blank = {name: torch.zeros(channels[name], frame.height, frame.width, device=device) for name in layers}
    if "normals" in blank:
        blank["normals"] += torch.tensor(NORMAL_BACKGROUND, device=device)[:, None, None]
    return blank


def _bands(scene: Scene, antialias: int, max_samples: int) -> Iterator[tuple[int, int, Covered]]:
    """Rasterise the part of the picture that the hands can touch, band by band: top and left in pixels, samples."""
    window = _window(scene)
    if window is None:
        return
    left, top, right, bottom = window
    step = max(1, max_samples // ((right - left) * antialias**2))
    meshes = scene.vertices.shape[0]
    for start in range(top, bottom, step):
        stop = min(start + step, bottom)
        corner = torch.tensor([left, start, 0.0], device=scene.pixels.device)
        scale = torch.tensor([antialias, antialias, 1.0], device=scene.pixels.device)
        covered = rasterise_covered(
            (scene.pixels - corner) * scale,
            scene.faces,
            torch.zeros(meshes, dtype=torch.int64, device=scene.pixels.device),
            1,
            (stop - start) * antialias,
            (right - left) * antialias,
            cull="back",
            order=scene.order,
        )
        yield start, left, covered


def _window(scene: Scene) -> tuple[int, int, int, int] | None:
    """left, top, right, bottom in whole pixels around all that can be drawn, or None."""
    points = scene.pixels[(scene.pixels[..., 2] > NEAR) & torch.isfinite(scene.pixels).all(-1)]
    if not points.shape[0]:
        return None
    size = torch.tensor([scene.width, scene.height], device=points.device)
    low = torch.minimum(points[:, :2].amin(0).floor().clamp(min=0), size)
    high = torch.minimum(points[:, :2].amax(0).ceil().clamp(min=0), size)
    if not (high > low).all():
        return None
    (left, top), (right, bottom) = low.int().tolist(), high.int().tolist()
    return left, top, right, bottom


def _resolve(covered: Covered, scene: Scene, layers: Sequence[str], brightness, convention: str) -> dict[str, Tensor]:
    """The samples of each layer, [C, h, w]."""
    values: dict[str, Tensor] = {}
    for name in layers:
        if name == "depth":
            factor, offset = (one.index_select(0, covered.mesh) for one in brightness)
            values[name] = covered.spread(torch.addcdiv(offset, factor, covered.depth).clamp_(0, 1))
        elif name == "normals":
            normals = interpolate_covered(covered, scene.normals(), scene.faces)
            length = torch.sqrt(normals[0] ** 2 + normals[1] ** 2 + normals[2] ** 2).clamp_(min=1e-12)
            values[name] = torch.cat(
                [
                    covered.spread((channel / length).mul_(0.5 * sign).add_(0.5), background)
                    for channel, sign, background in zip(
                        normals, NORMAL_SIGNS[convention], NORMAL_BACKGROUND, strict=True
                    )
                ]
            )
        elif name == "parts":
            parts = _parts(covered, scene)
            colours = torch.tensor(PART_COLOURS, device=parts.device)
            values[name] = torch.cat(
                [covered.spread(channel.index_select(0, parts)) for channel in colours.T.contiguous()]
            )
        elif name == "mask":
            values[name] = covered.spread(torch.ones_like(covered.depth))
        elif name == "visible":
            mesh = covered.spread(covered.mesh, -1)
            values[name] = (mesh == torch.arange(len(scene.places), device=mesh.device)[:, None, None]).to(
                torch.float32
            )
    return values


def _parts(covered: Covered, scene: Scene) -> Tensor:
    """[M] int64, the rig joint that the surface follows most at each drawn pixel."""
    corners = scene.weights.argmax(1)[scene.faces]
    # Where the corners of a face agree so does its inside; only the others need their weights mixed.
    mixed = (corners != corners[:, :1]).any(1)
    parts = corners[:, 0].index_select(0, covered.face)
    some = torch.nonzero(mixed.index_select(0, covered.face)).squeeze(1)
    border = covered.select(some)
    return parts.index_copy(0, some, interpolate_covered(border, scene.weights, scene.faces).argmax(0))


def _average(samples: Tensor, antialias: int) -> Tensor:
    """[C, h * antialias, w * antialias] to [C, h, w]; sums of whole rows first, three times as quick as avg_pool2d."""
    rows = samples[:, ::antialias]
    for k in range(1, antialias):
        rows = rows + samples[:, k::antialias]
    columns = rows[..., ::antialias]
    for k in range(1, antialias):
        columns = columns + rows[..., k::antialias]
    return columns / antialias**2


def _gather(name: str, pictures: list[Tensor], frames: Sequence[Frame]):
    if name == "visible":
        return pictures
    if not pictures:
        return torch.zeros(0, 1, 1, 3) if name in ("normals", "parts") else torch.zeros(0, 1, 1)
    return rearrange(pictures, "b c h w -> b h w c") if name in ("normals", "parts") else torch.cat(pictures)
