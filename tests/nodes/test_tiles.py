"""Nodes of other packs that draw a picture piece by piece: every piece gets its part of the hands.

The packs' own steps, as far as they touch MODEL, prompts and segments, written anew: how Ultimate SD Upscale cuts the
controls of a prompt to a tile, and how the Impact Pack's detailers ask a segment for MODEL and prompts.
"""

import math
from collections import namedtuple
from typing import Any

import pytest
import torch
from torch.nn.functional import interpolate

from handrawer.hand.camera import Placement
from handrawer.hand.hands import Frame
from tests.nodes.canvas import Canvas, one_hand, other_hand, relative
from tests.nodes.random_extras import make_controlnet
from tests.nodes.small_bases import host_config

WIDTH, HEIGHT = 128, 96  # of the hands' picture, in pixels
WHOLES = ((0.0, 0.0, 1.0, 1.0),) * 3
TILES = [(0, 0, 64, 64), (48, 16, 112, 80), (64, 32, 128, 96)]  # x0, y0, x1, y1 there
Seg = namedtuple(
    "Seg", "cropped_image cropped_mask confidence crop_region bbox label control_net_wrapper", defaults=[None]
)


def hands() -> Frame:
    both = one_hand(WIDTH, HEIGHT).hands + other_hand(WIDTH, HEIGHT).hands
    return Frame(WIDTH, HEIGHT, both)


def cut_to_tile(conditioning: list, region, canvas: tuple[int, int], tile: tuple[int, int]) -> list:
    """What the upscaler does with the controls of a prompt: copies, cropped and brought to the tile's size.

    region: of a tile, or a list of those of a batch of tiles.
    """
    regions = region if isinstance(region, list) else [region]
    found = []
    for text, values in conditioning:
        values = dict(values)
        control = values.get("control")
        if control is not None:
            values["control"] = copied = control.copy()
            while control is not None:
                hint = copied.cond_hint_original
                across, down = hint.shape[3] / canvas[0], hint.shape[2] / canvas[1]
                parts = []
                for left, top, right, bottom in regions:
                    x0, y0 = math.floor(left * across), math.floor(top * down)
                    x1, y1 = math.ceil(right * across), math.ceil(bottom * down)
                    parts.append(interpolate(hint[:, :, y0:y1, x0:x1], tile[::-1], mode="nearest-exact"))
                copied.cond_hint_original = torch.cat(parts)
                control = control.previous_controlnet
                copied.set_previous_controlnet(None if control is None else control.copy())
                copied = copied.previous_controlnet
        found.append([text, values])
    return found


def on_crop(frame: Frame, region) -> Frame:
    x0, y0, x1, y1 = region
    return frame.placed(Placement(1.0, -float(x0), -float(y0), frame.width, frame.height, x1 - x0, y1 - y0))


def check(canvas: Canvas, calls, frame: Frame, size: tuple[int, int], tolerance: float = 1e-4) -> None:
    """Every row of every call has what the hands on the crop give under its text."""
    assert calls
    for call in calls:
        for row, text in enumerate(call.context):
            expected = canvas.residuals([frame], *size, text)
            for block, values in expected.items():
                assert values.any() and relative(call.added[block][row], values) < tolerance, (block, row)


@pytest.fixture(scope="module")
def tiles(nodes):
    return nodes("tiles")


@pytest.fixture(scope="module")
def features(sd15: Canvas):
    return sd15.features(hands())


def test_coordinates_tell_where_a_tile_lies(tiles):
    place = tiles.Place("1")
    assert place.regions[0] == pytest.approx(tiles.WHOLE[0]) and tiles.regions_of(place, "2") is None
    generator = torch.Generator().manual_seed(0)
    for _ in range(40):
        x0, y0 = (int(v) for v in torch.randint(0, 1500, (2,), generator=generator))
        width, height = (int(v) for v in torch.randint(64, 1500, (2,), generator=generator))
        size = (int(torch.randint(64, 1100, (1,), generator=generator)), 640)
        region = (x0, y0, min(x0 + width, 3000), min(y0 + height, 3000))
        (cut,) = cut_to_tile([[None, {"control": place}]], region, (3000, 3000), size)
        (found,) = tiles.regions_of(cut[1]["control"], "1")
        assert found == pytest.approx([v / 3000 for v in region], abs=1.5 / tiles.SIDE)
    assert place.regions[0] == pytest.approx(tiles.WHOLE[0]), "the prompt that the tile was cut from stays whole"


@pytest.mark.parametrize("region", TILES[1:])
def test_each_tile_of_an_upscaler_gets_its_part_of_the_hands(sd15: Canvas, tiles, features, region):
    """Under guidance, of a picture of twice the size; a prompt that went past the node shows the same tile."""
    pair = sd15.tagged(sd15.text(1)), sd15.tagged(sd15.text(2), "negative")
    carried = tiles.carrying(*pair, "1")
    model = sd15.patched(features, by_tiles=True)
    doubled, canvas = tuple(2 * v for v in region), (2 * WIDTH, 2 * HEIGHT)
    tile = (96, 96)  # the upscaler may draw a tile larger or smaller than it lies there
    size = (tile[1] // 8, tile[0] // 8)
    positive, negative = (cut_to_tile(prompt, doubled, canvas, tile) for prompt in carried)
    _, calls = sd15.sample(model, positive, negative, cfg=4.0, size=size)
    assert [len(call.order) for call in calls] == [2] * len(calls), "both prompts in one call, as without HanDrawer"
    # the tile's edges are known to a 2048th of the picture
    check(sd15, calls, on_crop(hands(), region), size, 0.03)
    _, calls = sd15.sample(model, positive, sd15.text(2), cfg=4.0, size=size)
    (block, *_) = sd15.network.levels
    expected = sd15.residuals([on_crop(hands(), region)], *size, None)[block]
    rows = [call.added[block][row] for call in calls for row, order in enumerate(call.order) if order == 1]
    assert rows and all(relative(row, expected) < 0.03 for row in rows)


def test_a_batch_of_tiles_and_tiles_of_two_pictures(sd15: Canvas, tiles):
    """Tiles are put together to one batch, picture by picture; each row has its own part of its own picture's hands."""
    frames = (one_hand(WIDTH, HEIGHT), other_hand(WIDTH, HEIGHT))
    regions, size = [(48, 0, 112, 64), (16, 32, 80, 96)], (8, 8)
    assert tiles.period(tuple(regions)) == 2 and tiles.period(tuple(regions) * 2) == 2 and tiles.period(WHOLES) == 1
    model = sd15.patched(sd15.features(*frames), by_tiles=True)
    carried, _ = tiles.carrying(sd15.tagged(sd15.text(1)), None, "1")
    cut = cut_to_tile(carried, regions * 2, (WIDTH, HEIGHT), (64, 64))
    _, (call,) = sd15.sample(model, cut, batch=4, size=size)
    (block, *_) = sd15.network.levels
    for row, (frame, region) in enumerate((frame, region) for frame in frames for region in regions):
        expected = sd15.residuals([on_crop(frame, region)], *size, call.context[row])[block]
        assert expected.any() and relative(call.added[block][row], expected) < 0.03, row


def test_a_whole_picture_is_drawn_as_without_following_tiles(sd15: Canvas, tiles, features):
    pair = sd15.tagged(sd15.text(1)), sd15.tagged(sd15.text(2), "negative")
    settings: dict[str, Any] = {"cfg": 4.0, "size": (12, 16)}
    expected, plain = sd15.sample(sd15.patched(features), *pair, **settings)
    found, calls = sd15.sample(sd15.patched(features, by_tiles=True), *tiles.carrying(*pair, "1"), **settings)
    assert [c.order for c in calls] == [c.order for c in plain] and torch.equal(found, expected)
    nothing = sd15.patched(features, strength=0.0, by_tiles=True)
    bare, _ = sd15.sample(sd15.model, *pair, **settings)
    assert torch.equal(sd15.sample(nothing, *tiles.carrying(*pair, "1"), **settings)[0], bare)


def test_tiles_with_controlnets_before_and_behind_and_two_nodes(sd15: Canvas, tiles, features, host_nodes):
    """Controls are chained; each node finds its own coordinates, and ControlNets are drawn as they are."""
    import comfy.controlnet

    module = make_controlnet(host_config("sd15"))
    control = comfy.controlnet.ControlNet(module, load_device=torch.device("cpu"), manual_cast_dtype=None)
    image = torch.rand(1, 48, 64, 3, generator=torch.Generator().manual_seed(0))

    def controlled(pair):
        return host_nodes.ControlNetApplyAdvanced().apply_controlnet(*pair, control, image, 0.5, 0.0, 1.0)

    def tagged(pair, key):
        return [sd15.tagged(prompt, role, key) for prompt, role in zip(pair, ("positive", "negative"), strict=True)]

    region, size = TILES[1], (8, 8)
    pair = controlled(tagged(tagged((sd15.text(1), sd15.text(2)), "1"), "2"))
    carried = controlled(tiles.carrying(*tiles.carrying(*pair, "1"), "2"))
    assert carried[0][0][1]["control"] is carried[1][0][1]["control"], "the host batches what has the same controls"
    once = sd15.patched(features, by_tiles=True, strength=0.5)
    twice = sd15.patched(features, once, key="2", by_tiles=True, strength=0.5)
    cut = [cut_to_tile(prompt, region, (WIDTH, HEIGHT), (64, 64)) for prompt in carried]
    found, calls = sd15.sample(twice, *cut, cfg=4.0, size=size)
    check(sd15, calls, on_crop(hands(), region), size, 0.03)
    cut = [cut_to_tile(prompt, region, (WIDTH, HEIGHT), (64, 64)) for prompt in controlled(pair)]
    placed = sd15.patched(sd15.features(on_crop(hands(), region)), key="1", strength=0.5)
    placed = sd15.patched(sd15.features(on_crop(hands(), region)), placed, key="2", strength=0.5)
    expected, _ = sd15.sample(placed, *cut, cfg=4.0, size=size)
    assert relative(found, expected) < 0.03


def test_a_controlnet_that_the_host_hands_on_still_is(tiles):
    """The old ControlNet node controls the negative prompt only where that has no control of its own."""
    positive, negative = [[0, {"control": None, "control_apply_to_uncond": True}]], [[0, {}]]
    first, second = tiles.carrying(positive, negative, "1")
    assert isinstance(first[0][1]["control"], tiles.Place) and second is negative
    assert tiles.carrying(positive, None, "1")[1] is None


def test_masks_and_crops_of_tiles_are_of_the_whole_picture(sd15: Canvas, nodes, tiles, features):
    """A mask's part, and a tile of a crop."""
    text, size = sd15.tagged(sd15.text(1)), (8, 8)
    mask = torch.zeros(1, HEIGHT // 8, WIDTH // 8)
    mask[..., 9:] = 1  # from the tile's column 3
    carried, _ = tiles.carrying(text, None, "1")
    cut = cut_to_tile(carried, TILES[1], (WIDTH, HEIGHT), (64, 64))
    _, (call,) = sd15.sample(sd15.patched(features, mask=mask, by_tiles=True), cut, size=size)
    _, (whole,) = sd15.sample(sd15.patched(features, by_tiles=True), cut, size=size)
    (block, *_) = sd15.network.levels
    assert not call.added[block][..., :2].any() and whole.added[block][..., :2].any()
    assert relative(call.added[block][..., 4:], whole.added[block][..., 4:]) < 1e-4
    view = nodes("network").View(crop=(32, 0, 96, 96))  # its right half, down to the middle, is the tile
    cut = cut_to_tile(carried, (48, 0, 96, 48), (96, 96), (48, 48))
    _, calls = sd15.sample(sd15.patched(features, view=view, by_tiles=True), cut, size=(6, 6))
    check(sd15, calls, on_crop(hands(), (80, 0, 128, 48)), (6, 6), 0.03)


def test_the_advanced_node_follows_tiles(sd15: Canvas, nodes, tiles, features):
    from types import SimpleNamespace

    node = nodes("advanced").HanDrawerApplyAdvanced
    clone = type(node.__name__, (node,), {"hidden": SimpleNamespace(unique_id="1")})
    values = {i.id: i.default for i in node.define_schema().inputs if getattr(i, "default", None) is not None}
    assert values.pop("follow_tiles") is False
    values |= {"model": sd15.model, "features": features, "follow_tiles": True}
    with pytest.raises(ValueError, match=r"^follow_tiles: .*connect positive and negative"):
        clone.execute(**values)
    model, positive, negative = clone.execute(**values, positive=sd15.text(1), negative=sd15.text(2)).args
    assert isinstance(positive[0][1]["control"], tiles.Place)
    cut = [cut_to_tile(prompt, TILES[0], (WIDTH, HEIGHT), (64, 64)) for prompt in (positive, negative)]
    _, calls = sd15.sample(model, *cut, cfg=4.0, size=(8, 8))
    check(sd15, calls, on_crop(hands(), TILES[0]), (8, 8), 0.03)


# ------------------------------------------------------------ detailers


def applied(nodes, segs, features, strength=1.0, key="7"):
    from types import SimpleNamespace

    node = nodes("detailing").HanDrawerApplySegs
    clone = type(node.__name__, (node,), {"hidden": SimpleNamespace(unique_id=key)})
    return clone.execute(segs, features, strength, 0.0, 1.0).args[0]


def detailed(canvas: Canvas, segment: Any, pair, scale: float = 1.5):
    """What a detailer does with one segment: asks it for prompts and MODEL, and draws its crop enlarged."""
    model, (positive, negative), shown = canvas.model, pair, []
    x0, y0, x1, y1 = segment.crop_region
    size = (int((y1 - y0) * scale) // 8, int((x1 - x0) * scale) // 8)
    if segment.control_net_wrapper is not None:
        enlarged = torch.zeros(1, size[0] * 8, size[1] * 8, 3)
        positive, negative, shown = segment.control_net_wrapper.apply(positive, negative, enlarged, None)
        model, more = segment.control_net_wrapper.doit_ipadapter(model)
        shown.extend(more)
    return (*canvas.sample(model, positive, negative, cfg=4.0, size=size), size, shown)


def test_each_segment_of_a_detailer_gets_the_hands_of_its_crop(sd15: Canvas, nodes, features):
    segs = ((HEIGHT, WIDTH), [Seg(None, None, 0.9, tile, tile, "hand") for tile in TILES])
    pair = sd15.text(1), sd15.text(2)
    found = applied(nodes, segs, features)
    assert found[0] == segs[0] and all(type(s) is Seg for s in found[1]) and segs[1][0].control_net_wrapper is None
    for segment, region in zip(found[1], TILES, strict=True):
        _, calls, size, _ = detailed(sd15, segment, pair)
        check(sd15, calls, on_crop(hands(), region), size)
    bare, *_ = detailed(sd15, segs[1][0], pair)
    nothing, *_ = detailed(sd15, applied(nodes, segs, features, strength=0.0)[1][0], pair)
    assert torch.equal(nothing, bare)
    assert applied(nodes, ((HEIGHT, WIDTH), []), features) == ((HEIGHT, WIDTH), [])


def test_segments_keep_what_they_carry_and_may_be_of_another_size(sd15: Canvas, nodes, features):
    class Brighter:
        """Another pack's on the same segment: it changes prompts and MODEL."""

        def apply(self, positive, negative, image, mask, use_acn=False):
            return [[positive[0][0] * 2, positive[0][1]]], negative, ["a picture"]

        def doit_ipadapter(self, model):
            model = model.clone()
            model.model_options["brighter"] = True
            return model, ["another"]

    larger = [tuple(2 * v for v in tile) for tile in TILES]
    segs = ((2 * HEIGHT, 2 * WIDTH), [Seg(None, None, 0.9, tile, tile, "hand", Brighter()) for tile in larger[:1]])
    (segment,) = applied(nodes, segs, features)[1]
    steering = segment.control_net_wrapper
    positive, _, shown = steering.apply(sd15.text(1), sd15.text(2), None, None, use_acn=True)
    assert torch.equal(positive[0][0], sd15.text(1)[0][0] * 2) and shown == ["a picture"]
    model, shown = steering.doit_ipadapter(sd15.model)
    assert model.model_options["brighter"] and shown == ["another"]
    _, calls, size, shown = detailed(sd15, segment, (sd15.text(1), sd15.text(2)), scale=1)
    check(sd15, calls, on_crop(hands(), TILES[0]), size)
    assert shown == ["a picture", "another"]
    # and HanDrawer on top of HanDrawer adds
    (twice,) = applied(nodes, (segs[0], [segment]), features, key="8")[1]
    _, double, *_ = detailed(sd15, twice, (sd15.text(1), sd15.text(2)), scale=1)
    (block, *_) = sd15.network.levels
    assert relative(double[0].added[block], 2 * calls[0].added[block]) < 1e-4


def test_wrong_segments_are_a_sentence(sd15: Canvas, sdxl: Canvas, nodes, features):
    good = ((HEIGHT, WIDTH), [Seg(None, None, 0.9, TILES[0], TILES[0], "hand")])
    with pytest.raises(ValueError, match=r"^segs: These are no segments of the Impact Pack"):
        applied(nodes, 7, features)
    with pytest.raises(ValueError, match=r"^segs: They belong to a picture of 96 x 96 pixels"):
        applied(nodes, ((96, 96), good[1]), features)
    with pytest.raises(ValueError, match=r"^features: .*differ in size"):
        applied(nodes, good, sd15.features(one_hand(), one_hand(416, 272)))
    with pytest.raises(ValueError, match=r"^model: .*SDXL"):
        applied(nodes, good, features)[1][0].control_net_wrapper.doit_ipadapter(sdxl.model)
