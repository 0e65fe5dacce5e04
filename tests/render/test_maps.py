import dataclasses
import itertools

import pytest
import torch
import torch.nn.functional as F

from handrawer.hand.camera import Camera
from handrawer.hand.hands import Frame, Hands, hand_from_gesture, make_hand, orientation_from_degrees
from handrawer.render.depth import FAR_VALUE
from handrawer.render.maps import LAYERS, NORMAL_BACKGROUND, PART_COLOURS, render_crops, render_hands, render_layers
from handrawer.render.rasterise import rasterise
from handrawer.render.scene import build_scene


def hand(side="right", turn=(0, 0, 0), at=(0, 0.08, 0.6), width=128, height=128, focal=1.6, **changes):
    made = make_hand(
        side=side,
        orientation=orientation_from_degrees(*turn),
        translation=at,
        camera=Camera(focal),
        width=width,
        height=height,
    )
    return made.replace(**changes)


def two_hands(width=128, height=128, **changes) -> Frame:
    """A right hand, and a left one 12 cm behind it that it hides in part."""
    near = hand(at=(-0.02, 0.08, 0.5), width=width, height=height, **changes)
    far = hand("left", at=(0.03, 0.06, 0.62), width=width, height=height)
    return Frame(width, height, (near, far))


def iou(a, b):
    return float(torch.minimum(a, b).sum() / torch.maximum(a, b).sum())


def test_shapes_and_ranges():
    frames = Hands((two_hands(96, 64), Frame(96, 64), Frame(96, 64, (hand(width=96, height=64),))))
    maps = render_hands(frames)
    assert maps.depth.shape == maps.mask.shape == (3, 64, 96)
    assert maps.normals.shape == maps.parts.shape == (3, 64, 96, 3)
    assert [tuple(v.shape) for v in maps.visible] == [(2, 64, 96), (0, 64, 96), (1, 64, 96)]
    for picture in (maps.depth, maps.mask, maps.normals, maps.parts, *maps.visible):
        assert picture.dtype == torch.float32 and picture.isfinite().all()
        assert ((picture >= 0) & (picture <= 1)).all()


def test_layers_asked_for_one_by_one_are_those_of_all():
    frame = two_hands()
    maps = render_hands(frame)
    for name in LAYERS:
        alone = render_layers(frame, [name])
        assert list(alone) == [name]
        wanted = getattr(maps, name)
        assert torch.equal(alone[name][0], wanted[0])


def test_no_hands_give_an_empty_picture():
    for frame in (Frame(5, 3), Frame(5, 3, (hand(width=5, height=3, enabled=False),))):
        maps = render_hands(frame)
        assert maps.depth.sum() == maps.mask.sum() == maps.parts.sum() == 0
        assert torch.equal(maps.normals, torch.tensor(NORMAL_BACKGROUND).expand(1, 3, 5, 3))
        assert maps.visible[0].shape == (len(frame.hands), 3, 5) and maps.visible[0].sum() == 0
    assert render_layers(Hands(()), ["depth", "normals", "visible"])["depth"].shape[0] == 0


def test_a_hand_out_of_sight_is_not_drawn():
    assert render_hands(Frame(64, 64, (hand(at=(3, 0, 0.6), width=64, height=64),))).mask.sum() == 0


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (9, 2)])
def test_tiny_pictures(size):
    frame = hand_from_gesture("open", width=64, height=64, size=1.5)
    maps = render_hands(frame, *size, antialias=8)
    assert maps.depth.shape == (1, size[1], size[0])
    assert maps.mask.max() > 0.2


def test_same_bits_twice():
    first, second = render_hands(two_hands()), render_hands(two_hands())
    for name in LAYERS:
        assert torch.equal(getattr(first, name)[0], getattr(second, name)[0])


@pytest.mark.parametrize("samples", [200, 3000, 20000])
def test_bands_change_nothing(samples):
    # Bands move the corner of the picture by whole pixels, which rounds far coordinates otherwise by a bit or so.
    whole, banded = (render_layers(two_hands(), LAYERS, max_samples=n) for n in (2**30, samples))
    for name in LAYERS:
        difference = (whole[name][0] - banded[name][0]).abs()
        assert float((difference > 1e-3).float().mean()) < 2e-4


def test_depth_is_bright_near_and_black_behind():
    # Fingertips towards the camera: the farther down the picture (the wrist), the darker.
    frame = Frame(128, 128, (hand(turn=(0, 60, 0), at=(0, 0.03, 0.5)),))
    depth = render_layers(frame, ["depth"], antialias=1)["depth"][0]
    drawn = depth > 0
    assert float(depth.max()) > 0.97
    assert FAR_VALUE <= float(depth[drawn].min()) < FAR_VALUE + 0.3
    z = frame.hands[0].vertices[:, 2]
    tip, wrist = ((p * 128).int().tolist() for p in frame.hands[0].joints_2d[[12, 0]])
    assert z[frame.hands[0].joints[12].sub(frame.hands[0].vertices).norm(dim=1).argmin()] < z.mean()
    assert depth[tip[1], tip[0]] > depth[wrist[1], wrist[0]] + 0.3


def test_depth_is_linear_in_the_inverse():
    frame = Frame(128, 128, (hand(turn=(0, 50, 0)),))
    near, far = 0.3, 0.9
    got = render_layers(frame, ["depth"], antialias=1, depth_range=(near, far))["depth"][0]
    z = frame.hands[0].vertices[:, 2]
    expected = [FAR_VALUE + (1 - FAR_VALUE) * (1 / d - 1 / far) / (1 / near - 1 / far) for d in (z.min(), z.max())]
    assert float(got.max()) == pytest.approx(float(expected[0]), abs=0.01)
    assert float(got[got > 0].min()) >= float(expected[1]) - 1e-4


def test_depth_ranges():
    near, far = hand(at=(-0.06, 0.08, 0.4)), hand("left", at=(0.15, 0.08, 0.9))
    both = Frame(128, 128, (near, far))
    visible = render_layers(both, ["visible"], antialias=1)["visible"][0] > 0

    def brightest(**options):
        depth = render_layers(both, ["depth"], antialias=1, **options)["depth"][0]
        return [float(depth[v].max()) for v in visible]

    of_picture = brightest()
    assert of_picture[0] > 0.95 and of_picture[1] < 0.5
    assert all(value > 0.95 for value in brightest(depth_range="hand"))
    batch = Hands((Frame(128, 128, (near,)), Frame(128, 128, (far,))))
    depth = render_layers(batch, ["depth"], depth_range="batch")["depth"]
    assert depth[0].max() > 0.95 and depth[1].max() < 0.5
    assert (render_layers(batch, ["depth"])["depth"].amax((1, 2)) > 0.95).all()


@pytest.mark.parametrize("curve", ["inverse", "linear"])
def test_each_hand_runs_over_what_is_visible_of_it(curve):
    """As HandRefiner and the MeshGraphormer node normalise: 1 at the nearest visible point, 0.2 at the farthest."""
    near, far = hand(at=(-0.06, 0.08, 0.4), turn=(0, 40, 0)), hand("left", at=(0.02, 0.08, 0.9))
    both = Frame(128, 128, (near, far))
    options: dict = {"antialias": 1, "depth_range": "hand", "depth_curve": curve}
    layers = render_layers(both, ["depth", "visible"], **options)
    for place, one in enumerate(both.hands):
        alone = render_layers(Frame(128, 128, (one,)), ["depth"], **options)["depth"][0]
        drawn = alone[alone > 0]
        assert float(drawn.max()) > 0.98 and FAR_VALUE - 0.01 < float(drawn.min()) < FAR_VALUE + 0.05
        # What hides a part of it, or another hand beside it, changes nothing.
        seen = layers["visible"][0][place] > 0
        assert int(seen.sum()) > 500 and torch.equal(layers["depth"][0][seen], alone[seen])


def test_the_linear_curve_is_the_mesh_graphormer_s():
    frame = Frame(96, 96, (hand(turn=(20, 50, 0), width=96, height=96),))
    scene = build_scene(frame)
    z = rasterise(scene.pixels, scene.faces, torch.zeros(1, dtype=torch.int64), 1, 96, 96, cull="back").depth[0]
    seen = z.isfinite()
    expected = 1 - 0.8 * (z - z[seen].min()) / (z[seen].max() - z[seen].min())
    got = render_layers(frame, ["depth"], antialias=1, depth_range="hand", depth_curve="linear")["depth"][0]
    assert float((got - expected)[seen].abs().max()) < 0.03  # the ends are looked up in a picture of another size
    assert not got[~seen].any()
    pair = render_layers(frame, ["depth"], antialias=1, depth_range=(0.3, 0.9), depth_curve="linear")["depth"][0]
    assert torch.allclose(pair[seen], 1 - 0.8 * (z[seen] - 0.3) / 0.6, atol=1e-5)


def test_a_hand_far_beside_the_picture_keeps_the_range_of_the_others():
    near, beside = hand(), hand(at=(9.0, 0, 0.3))
    for name in ("picture", "hand", "batch"):
        options: dict = {"depth_range": name, "depth_curve": "linear"}
        alone = render_layers(Frame(128, 128, (near,)), ["depth"], **options)["depth"]
        for hands in ((near, beside), (beside, near.replace(z_order=1)), (near, beside.replace(z_order=1))):
            assert torch.equal(render_layers(Frame(128, 128, hands), ["depth"], **options)["depth"], alone)
        assert render_layers(Frame(128, 128, (beside,)), ["depth"], **options)["depth"].max() == 0
    behind = near.replace(vertices=near.vertices * torch.tensor([1.0, 1, -1]))
    assert render_layers(Frame(128, 128, (behind,)), ["depth"], **options)["depth"].max() == 0


def test_forty_hands_in_an_order_of_their_own():
    """Every second hand is laid over the one before it, whatever their depths."""
    hands = []
    for k in range(40):
        row, column = divmod(k // 2, 5)
        at = (-0.3 + 0.15 * column, -0.22 + 0.15 * row, 1.2 if k % 2 else 1.0)
        hands.append(hand(at=at, width=160, height=160, z_order=k))
    maps = render_hands(Frame(160, 160, tuple(hands)))
    assert maps.visible[0].shape == (40, 160, 160)
    assert torch.allclose(maps.visible[0].sum(0), maps.mask[0], atol=1e-5)
    area = maps.visible[0].sum((1, 2))
    assert (area[1::2] > 20).all() and float(area[1::2].sum()) > 1.5 * float(area[::2].sum())


def test_wide_pictures():
    frame = hand_from_gesture("peace", "left", 8192, 24, centre=(0.9, 0.5), size=0.9)
    maps = render_layers(frame, ["depth", "mask"], max_samples=2**12)
    assert maps["depth"].shape == (1, 24, 8192)
    drawn = torch.nonzero(maps["mask"][0])[:, 1]
    assert 7300 < int(drawn.min()) < int(drawn.max()) < 7440


def test_crops_are_what_is_visible():
    frame = Frame(128, 128, (*two_hands().hands, hand(enabled=False), hand(at=(4.0, 0, 0.5))))
    visible, normals = render_layers(frame, ["visible", "normals"], max_samples=3000).values()
    layers, crops = render_crops(frame, ["normals"], max_samples=3000)
    assert torch.equal(layers["normals"], normals[0])
    assert crops[2] is None and crops[3] is None
    for place in (0, 1):
        crop, whole = crops[place], torch.zeros(128, 128)
        assert crop is not None
        whole[crop.rows, crop.columns] = crop.share
        assert torch.equal(whole, visible[0][place]) and crop.share.numel() < 128 * 128


def test_the_nearer_hand_hides_the_other():
    frame = two_hands()
    alone = [render_layers(Frame(128, 128, (h,)), ["mask"])["mask"][0] for h in frame.hands]
    maps = render_hands(frame)
    assert torch.allclose(maps.visible[0][0], alone[0], atol=1e-6)
    assert torch.allclose(maps.visible[0].sum(0), maps.mask[0], atol=1e-6)
    hidden = float((alone[1] - maps.visible[0][1]).sum())
    assert hidden > 300
    swapped = render_hands(Frame(128, 128, frame.hands[::-1]))
    assert torch.equal(swapped.visible[0].flip(0), maps.visible[0])
    assert torch.equal(swapped.depth, maps.depth) and torch.equal(swapped.normals, maps.normals)


def test_fingers_hide_each_other():
    # Seen from the side of the little finger the thumb lies behind: its parts vanish from the picture.
    frame = hand_from_gesture("open", width=256, height=256, orientation=(90, 0, 0))
    front = hand_from_gesture("open", width=256, height=256)
    colours = torch.tensor(PART_COLOURS)

    def share(picture, part):
        return int((render_layers(picture, ["parts"], antialias=1)["parts"][0] == colours[part]).all(-1).sum())

    sides = [sum(share(picture, part) for part in (13, 14, 15)) for picture in (frame, front)]
    assert sides[0] > 0.7 * sides[1]  # the little finger is seen in full
    index = [sum(share(picture, part) for part in (4, 5, 6)) for picture in (frame, front)]
    assert index[0] < 0.5 * index[1]  # the index finger is mostly hidden


@pytest.mark.parametrize("gesture", ["open", "fist", "ok"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_the_open_hand_is_closed(gesture, side):
    # Through a hole, or a face wound the wrong way, the inside of the hand would show where backs are drawn too.
    scene = build_scene(hand_from_gesture(gesture, side, 256, 256, orientation=(40, 20, 10)))
    own = torch.zeros(1, dtype=torch.int64)
    both, front = (rasterise(scene.pixels, scene.faces, own, 1, 256, 256, cull=cull) for cull in (None, "back"))
    assert torch.equal(both.covered, front.covered) and int(front.covered.sum()) > 5000
    # Where a finger sinks into the palm a sub-millimetre of inside may come before the outside.
    assert int((both.face != front.face).sum()) < 10


def test_z_order_wins_over_depth():
    frame = two_hands()
    near, far = frame.hands
    alone = render_layers(Frame(128, 128, (far,)), ["mask"])["mask"][0]
    raised = Frame(128, 128, (near, far.replace(z_order=1)))
    lowered = Frame(128, 128, (near.replace(z_order=-1), far))
    for changed in (raised, lowered):
        layers = render_layers(changed, ["visible", "depth"], antialias=1)
        visible, depth = layers["visible"][0] > 0, layers["depth"][0]
        assert iou(visible[1].float(), alone) > 0.95
        # The depth picture tells the same story: the hand in front is the brighter one.
        assert depth[visible[1]].min() >= depth[visible[0]].max() - 1e-5
    same = Frame(128, 128, (near.replace(z_order=3), far.replace(z_order=3)))
    assert torch.equal(render_hands(same).depth, render_hands(frame).depth)


def test_disabled_hands_keep_their_place():
    frame = two_hands()
    maps = render_hands(Frame(128, 128, (frame.hands[0].replace(enabled=False), frame.hands[1])))
    only = render_hands(Frame(128, 128, (frame.hands[1],)))
    assert maps.visible[0][0].sum() == 0
    assert torch.equal(maps.visible[0][1], only.visible[0][0])
    assert torch.equal(maps.depth, only.depth)


@pytest.mark.parametrize("side", ["left", "right"])
def test_normals_follow_the_convention(side):
    frame = hand_from_gesture("open", side, width=128, height=128)
    layers = {
        name: render_layers(frame, ["normals"], normals=name, antialias=1)["normals"][0] for name in ("bae", "opengl")
    }
    mask = render_layers(frame, ["mask"], antialias=1)["mask"][0] > 0
    raw = {name: 2 * value[mask] - 1 for name, value in layers.items()}
    assert torch.allclose(raw["bae"].norm(dim=-1), torch.ones(int(mask.sum())), atol=1e-4)
    assert torch.allclose(raw["bae"][:, 0], -raw["opengl"][:, 0], atol=1e-6)
    assert torch.equal(raw["bae"][:, 1:], raw["opengl"][:, 1:])
    # What is seen looks at the viewer, and a surface's left edge looks left: red in ControlNet's convention.
    assert (raw["bae"][:, 2] > -0.2).all() and raw["bae"][:, 2].mean() > 0.5
    left_edge = mask & ~mask.roll(1, 1)
    top_edge = mask & ~mask.roll(1, 0)
    assert layers["bae"][left_edge][:, 0].mean() > 0.7 > 0.3 > layers["opengl"][left_edge][:, 0].mean()
    assert layers["bae"][top_edge][:, 1].mean() > 0.7


def test_normals_agree_with_the_depth():
    # Independent of the mesh normals: the gradient of the depth picture leans where the normals do.
    frame = hand_from_gesture("open", width=256, height=256)
    layers = render_layers(frame, ["normals", "depth", "mask"], antialias=2, normals="opengl")
    inside = F.max_pool2d(1 - layers["mask"][:, None], 9, 1, 4)[0, 0] == 0
    depth, normals = layers["depth"][0], 2 * layers["normals"][0] - 1
    slope = depth[:, 2:] - depth[:, :-2]  # rises to the right where the surface comes nearer, so it faces left
    smooth = inside[:, 1:-1] & (slope.abs() > 0.002) & (slope.abs() < 0.03)
    agreeing = torch.sign(slope[smooth]) == -torch.sign(normals[:, 1:-1, 0][smooth])
    assert int(smooth.sum()) > 2000 and agreeing.float().mean() > 0.9


def test_parts_show_all_sixteen_in_their_colours():
    frame = hand_from_gesture("open", width=256, height=256, size=0.95)
    parts = render_layers(frame, ["parts"], antialias=1)["parts"][0]
    mask = render_layers(frame, ["mask"], antialias=1)["mask"][0] > 0
    colours = torch.tensor(((0.0, 0.0, 0.0), *PART_COLOURS))
    which = (parts[:, :, None] == colours).all(-1)
    assert which.any(-1).all() and torch.equal(which[..., 0], ~mask)
    assert (which.flatten(0, 1).sum(0) > 60).all()
    # The middle of each bone has its bone's colour (rig joint k turns the bone that starts there).
    place = frame.hands[0].joints_2d * 256
    for part, (a, b) in {2: (2, 3), 5: (6, 7), 8: (10, 11), 11: (14, 15), 14: (18, 19)}.items():
        x, y = ((place[a] + place[b]) / 2).int().tolist()
        assert which[y, x, part + 1]


def test_part_colours_are_far_apart():
    def lab(colour):
        linear = torch.tensor([c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour])
        matrix = torch.tensor([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
        xyz = matrix @ linear / torch.tensor([0.9505, 1.0, 1.089])
        f = torch.where(xyz > 0.008856, xyz ** (1 / 3), 7.787 * xyz + 16 / 116)
        return torch.stack([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])

    assert len(PART_COLOURS) == 16
    places = [lab(colour) for colour in ((0.0, 0.0, 0.0), *PART_COLOURS)]
    assert min(float((a - b).norm()) for a, b in itertools.combinations(places, 2)) > 25


def test_antialiasing_averages_by_area():
    frame = hand_from_gesture("peace", width=64, height=64)
    sharp = render_hands(frame, antialias=1)
    assert set(sharp.mask.unique().tolist()) == {0.0, 1.0}
    large = dataclasses.replace(frame, width=256, height=256)
    expected = render_hands(large, antialias=1)
    got = render_hands(frame, antialias=4)
    assert torch.allclose(got.mask[0], F.avg_pool2d(expected.mask, 4)[0], atol=0.07)
    assert float((got.mask[0] - F.avg_pool2d(expected.mask, 4)[0]).abs().mean()) < 1e-4
    assert float((got.depth[0] - F.avg_pool2d(expected.depth, 4)[0]).abs().mean()) < 1e-3


@pytest.mark.parametrize("shift", [-0.12, 0.12])
def test_a_hand_over_the_edge_is_cut_there(shift):
    size = 96
    frame = Frame(size, size, (hand(at=(shift, 0.05, 0.5), width=size, height=size),))
    hands = frame.hands[0]
    # The same camera in a picture three times as large with this one in its middle.
    camera = Camera(hands.camera.focal / 3)
    wide = Frame(3 * size, 3 * size, (hands.replace(camera=camera),))
    got, around = render_hands(frame), render_hands(wide)
    middle = slice(size, 2 * size)
    assert float(around.mask[0].sum()) > 1.1 * float(got.mask[0].sum()) > 0
    assert iou(got.mask[0], around.mask[0][middle, middle]) > 0.999
    assert float((got.depth[0] - around.depth[0][middle, middle]).abs().mean()) < 1e-4


@pytest.mark.parametrize("gesture", ["open", "fist", "peace"])
@pytest.mark.parametrize("mode", ["contain", "cover"])
def test_another_aspect_ratio_keeps_the_shape(gesture, mode):
    width, height, side = 848, 565, 256
    frame = hand_from_gesture(gesture, width=width, height=height, centre=(0.35, 0.55), orientation=(20, 15, 30))
    before = render_layers(frame, ["mask"])["mask"]
    after = render_layers(Hands((frame,)).placed(side, side, mode), ["mask"])["mask"][0]
    scale = (min if mode == "contain" else max)(side / width, side / height)
    # Resize and pad (or crop) the mask by hand: sample it where each pixel of the square came from.
    offset_x, offset_y = (side - scale * width) / 2, (side - scale * height) / 2
    at = torch.arange(side) + 0.5
    x, y = ((at - offset_x) / scale / width * 2 - 1), ((at - offset_y) / scale / height * 2 - 1)
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)[None]
    smooth = F.avg_pool2d(F.pad(before[None], (1, 1, 1, 1)), 3, 1)  # about three source pixels make one
    moved = F.grid_sample(smooth, grid, align_corners=False)[0, 0]
    assert iou(after, moved) > 0.97
    if mode == "contain":
        assert torch.equal(render_layers(frame, ["mask"], side, side)["mask"][0], after)


def test_hands_of_two_models_share_a_picture():
    # The open model with its vertices renamed stands for a second model of another topology.
    from handrawer.hand.model import load_open_hand

    model = load_open_hand()
    turn = torch.randperm(model.template.shape[0], generator=torch.Generator().manual_seed(1))
    back = turn.argsort()
    other = dataclasses.replace(
        model,
        name="mano",
        template=model.template[turn],
        faces=back[model.faces].flip(0)[:-1],
        weights=model.weights[turn],
    )
    frame = two_hands()
    second = frame.hands[1].replace(model="mano", vertices=frame.hands[1].vertices[turn])
    mixed = render_hands(Frame(128, 128, (frame.hands[0], second)), models={"mano": other})
    expected = render_hands(frame)
    for name in ("depth", "mask", "normals", "parts"):
        assert float((getattr(mixed, name) - getattr(expected, name)).abs().mean()) < 1e-3
    with pytest.raises(ValueError, match='the model "mano" cannot be drawn'):
        render_hands(Frame(128, 128, (second,)))
    with pytest.raises(ValueError, match="another version of the model"):
        render_hands(Frame(128, 128, (second.replace(model="open", vertices=second.vertices[1:]),)))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"layers": ["depths"]}, "no layer"),
        ({"layers": ["depth"], "antialias": 0}, "antialias must"),
        ({"layers": ["depth"], "depth_range": "all"}, "depth_range must"),
        ({"layers": ["depth"], "depth_range": (0.5, 0.2)}, "depth_range must"),
        ({"layers": ["depth"], "depth_curve": "log"}, "no depth curve"),
        ({"layers": ["depth"], "normals": "directx"}, "no normal convention"),
        ({"layers": ["depth"], "width": 4}, "both the width and the height"),
        ({"layers": ["depth"], "width": 0, "height": 4}, "at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        render_layers(two_hands(), **options)


def test_pictures_of_different_sizes_need_a_size():
    hands = Hands((Frame(8, 8), Frame(8, 9)))
    with pytest.raises(ValueError, match="8 x 8, 8 x 9"):
        render_layers(hands, ["depth"])
    assert render_layers(hands, ["depth"], 10, 12)["depth"].shape == (2, 12, 10)
