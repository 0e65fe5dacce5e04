"""Depth, normal, part and mask pictures of hands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..hand.hands import Frame, Hands
from ..hand.model import HandModel
from .depth import Brightness, brightness, check_depth, nearness
from .drawing import Crop, Layer, draw_layers, hand_windows, parts_of
from .rasterise import Covered, interpolate_covered
from .scene import Scene, build_scene, frames_of

LAYERS = ("depth", "normals", "parts", "mask", "visible")

ANTIALIAS = 2
MAX_SAMPLES = 2**22

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
    antialias: int = ANTIALIAS,
    depth_range: str | tuple[float, float] = "picture",
    depth_curve: str = "inverse",
    normals: str = "bae",
    models: Mapping[str, HandModel] | None = None,
    device: torch.device | str | None = None,
    max_samples: int = MAX_SAMPLES,
) -> dict:
    """Draw the wanted layers of the enabled hands: a dict from the layer's name to what Maps holds under it.

    hands          one picture's hands, or those of a batch
    layers         any of LAYERS; what is not asked for costs nothing
    width, height  pixels of the pictures; hands of a picture of another size are placed in it uniformly, centred, as
                   a whole. None: the size of the hands' own picture
    antialias      samples a pixel along each axis, 1 to 8, averaged by area, where an outline passes or a part ends;
                   one sample serves all other pixels. 1 gives hard edges and pure part colours
    depth_range    which depths run from FAR_VALUE (far) to 1 (near): those of all hands of a "picture" (hands keep
                   their distance to each other, as in the pictures that depth ControlNets were trained with), of each
                   "hand" (all detail of every hand: what is visible of it, were it alone, as HandRefiner's ControlNet
                   was trained), of all pictures of the "batch" (a video does not flicker), or a pair (near, far) in
                   metres. Where hands have an order of their own (z_order), those in front are moved nearer until they
                   are, so that the picture tells one story; not with a pair, which stays as given
    depth_curve    how brightness runs between: "inverse", linear in 1 / depth, as the depth networks behind
                   ControlNet's pictures predict it; or "linear" in the depth itself, as in the pictures that
                   HandRefiner and the MeshGraphormer node draw: 1 - 0.8 (d - near) / (far - near)
    normals        "bae", the colours of ControlNet 1.1's normal_bae: blue to the viewer, red to the left of the
                   picture, green up; or "opengl", the same with red to the right
    models         hand models by name, for hands of another model than "open"
    device         where to draw (None: where the hands' vertices are); the pictures are made there
    max_samples    pictures are drawn in bands of at most this many pixels or samples, which bounds the memory

    No hands give black pictures (normals: NORMAL_BACKGROUND). Raises ValueError for an unknown option or layer.
    """
    wanted = tuple(dict.fromkeys(layers))
    _check(wanted, antialias, normals)
    check_depth(depth_range, depth_curve)
    frames = frames_of(hands, width, height)
    if device is None:
        device = next((hand.vertices.device for frame in frames for hand in frame.hands if hand.enabled), "cpu")
    scenes = [build_scene(frame, models, device) for frame in frames]
    ranges = brightness(scenes, depth_range, depth_curve) if "depth" in wanted else [None] * len(scenes)
    height, width = (frames[0].height, frames[0].width) if frames else (1, 1)
    pictures: dict = {name: [] for name in wanted if name == "visible"}
    for name in wanted:
        if name != "visible":
            colours = (3,) if name in ("normals", "parts") else ()
            pictures[name] = torch.zeros(len(frames), height, width, *colours, device=device)
    for place, (frame, scene, bright) in enumerate(zip(frames, scenes, ranges, strict=True)):
        crops: list[Crop] = []
        if "visible" in wanted:
            visible = torch.zeros(len(frame.hands), height, width, device=device)
            pictures["visible"].append(visible)
            crops = _crops(scene, visible)
        into = {name: pictures[name][place] for name in wanted if name != "visible"}
        draw_layers(scene, _layers(scene, into, bright, depth_curve, normals), into, crops, antialias, max_samples)
    return pictures


def render_crops(
    frame: Frame,
    layers: Iterable[str] = (),
    *,
    antialias: int = ANTIALIAS,
    normals: str = "bae",
    models: Mapping[str, HandModel] | None = None,
    device: torch.device | str | None = None,
    max_samples: int = MAX_SAMPLES,
) -> tuple[dict[str, Tensor], list[Crop | None]]:
    """What is visible of each hand of one picture, cut out: many hands of a large picture stay small.

    layers  further ones to draw in the same go, "normals", "parts" or "mask", [H, W, 3] or [H, W] each
    The crops have the places of the list of hands, None for a hand that is disabled or out of the picture. Other
    arguments as in render_layers.
    """
    wanted = tuple(dict.fromkeys(layers))
    _check(wanted, antialias, normals)
    scene = build_scene(frame, models, device)
    size, where = (frame.height, frame.width), scene.pixels.device
    into = {name: torch.zeros(*size, *((3,) if name != "mask" else ()), device=where) for name in wanted}
    crops = _crops(scene, None)
    draw_layers(scene, _layers(scene, into, None, "inverse", normals), into, crops, antialias, max_samples)
    found: list[Crop | None] = [None] * len(frame.hands)
    for place, crop in zip(scene.places, crops, strict=True):
        found[place] = crop if crop.share.numel() else None
    return into, found


def _check(layers: Sequence[str], antialias: int, normals: str) -> None:
    for layer in layers:
        if layer not in LAYERS:
            raise ValueError(f'There is no layer "{layer}": choose from {", ".join(LAYERS)}.')
    if not 1 <= antialias <= 8:
        raise ValueError(f"antialias must be 1 to 8 samples along each axis, not {antialias}.")
    if normals not in NORMAL_SIGNS:
        raise ValueError(f'There is no normal convention "{normals}": choose from {", ".join(NORMAL_SIGNS)}.')


def _crops(scene: Scene, visible: Tensor | None) -> list[Crop]:
    """One for each mesh, to be filled: views of visible [hands, H, W], or tensors of their own."""
    crops = []
    for place, box in zip(scene.places, hand_windows(scene), strict=True):
        left, top, right, bottom = box or (0, 0, 0, 0)
        rows, columns = slice(top, bottom), slice(left, right)
        if visible is None:
            share = torch.zeros(bottom - top, right - left, device=scene.pixels.device)
        else:
            share = visible[place, rows, columns]
        crops.append(Crop(rows, columns, share))
    return crops


def _layers(
    scene: Scene, names: Iterable[str], bright: Brightness | None, curve: str, convention: str
) -> dict[str, Layer]:
    device = scene.pixels.device
    made: dict[str, Layer] = {}
    for name in names:
        if name == "depth" and bright is not None:
            made[name] = Layer(_depth(bright, curve))
        elif name == "normals":
            made[name] = Layer(_normals(scene, convention), NORMAL_BACKGROUND)
        elif name == "parts":
            colours = torch.tensor(PART_COLOURS, device=device)
            made[name] = Layer(
                lambda covered, colours=colours: colours.index_select(0, parts_of(covered, scene)), (0.0,) * 3
            )
        elif name == "mask":
            made[name] = Layer(lambda covered: torch.ones_like(covered.depth))
    return made


def _depth(bright: Brightness, curve: str) -> Callable[[Covered], Tensor]:
    def values(covered: Covered) -> Tensor:
        factor, offset = (one if len(one) == 1 else one.index_select(0, covered.mesh) for one in bright)
        return torch.addcmul(offset, factor, nearness(covered.depth, curve)).clamp_(0, 1)

    return values


def _normals(scene: Scene, convention: str) -> Callable[[Covered], Tensor]:
    of_vertices = scene.normals()
    half = 0.5 * torch.tensor(NORMAL_SIGNS[convention], device=of_vertices.device)

    def values(covered: Covered) -> Tensor:
        normals = interpolate_covered(covered, of_vertices, scene.faces)
        length = torch.sqrt(normals[0] ** 2 + normals[1] ** 2 + normals[2] ** 2).clamp_(min=1e-12)
        return (normals / length).mul_(half[:, None]).add_(0.5).T

    return values
