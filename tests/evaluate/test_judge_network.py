"""The judge's network: what it is trained on, how it is trained, and what is made of its answers."""

import json
import math
from pathlib import Path

import pytest
import torch

from handrawer.estimate.regions import Pyramid, to_picture
from handrawer.evaluate import judge_kinds, judge_smears
from handrawer.evaluate.judge_blind import COUNT, count_answers, order, pairs_of, read_labels
from handrawer.evaluate.judge_drawn import CHANNELS
from handrawer.evaluate.judge_kinds import MESH_EDITS
from handrawer.evaluate.judge_network import (
    CELLS,
    VIEWS,
    WEIGHTS_FILE,
    JudgeNetwork,
    about_network,
    hand_regions,
    hand_views,
    load_network,
    look,
    parts_in_doubt,
    points_in_view,
    save_network,
    seen_in,
)
from handrawer.evaluate.judge_pool import (
    Cache,
    Pool,
    cache,
    in_bytes,
    moved,
    read_cache,
    read_pairs,
    save_pairs,
)
from handrawer.evaluate.judge_scenes import (
    SHOWN,
    TRAINING_KINDS,
    compressed,
    crops,
    draw_pairs,
    draw_whole,
    processed,
)
from handrawer.evaluate.judge_smears import PICTURE_EDITS, blurred, place_beside
from handrawer.evaluate.judge_train import train
from handrawer.evaluate.judge_workbench import along, between, start_work, turned, workbench
from handrawer.evaluate.malformed import KINDS, straight_fingers
from handrawer.mini.random_table import uniforms
from handrawer.mini.scene import draw_scenes


@pytest.fixture(scope="module")
def work():
    bench = workbench()
    return start_work(draw_scenes(5, torch.arange(6), bench.hand), bench)


@pytest.fixture(scope="module")
def pairs():
    return draw_pairs(5, torch.arange(8), ("bones", "moved", "pasted", "spliced"), size=64)


@pytest.mark.parametrize("kind", MESH_EDITS)
def test_a_kind_changes_the_hand_and_keeps_its_palm_where_it_is(work, kind):
    u = uniforms(1, torch.arange(6), judge_kinds.NUMBERS)
    vertices = MESH_EDITS[kind](work, u)
    assert torch.equal(vertices, MESH_EDITS[kind](work, u)) and bool(torch.isfinite(vertices).all())
    moved_by = (vertices - work.vertices).norm(dim=-1)
    assert bool((moved_by.amax(dim=1) > 0.003).all()), "at least three millimetres"
    forearm = work.bench.hand.regions["forearm"]
    if kind != "lump":
        assert float(moved_by[:, forearm].max()) < 1e-4


def test_no_training_kind_is_one_of_the_test_s_and_all_keep_five_digits(work):
    assert not set(TRAINING_KINDS) & set(KINDS)
    u = uniforms(2, torch.arange(6), judge_kinds.NUMBERS)
    for kind in ("moved", "replaced"):
        vertices = MESH_EDITS[kind](work, u)
        shown = [((vertices[:, copy] - vertices[:, copy[:1]]).norm(dim=-1).amax(dim=1) > 0.01).int()
                 for copy in work.bench.copies]  # fmt: skip
        assert torch.stack(shown).sum(dim=0).tolist() == [1] * 6, "one copy comes"
        count = len(work.bench.hand.template)
        reach = []
        for hand, sound in zip(vertices[:, :count], work.vertices[:, :count], strict=True):
            tips = work.bench.hand.tip_vertices
            reach.append(int(((hand - sound)[tips].norm(dim=-1) > 0.01).sum()))
        assert reach == [1] * 6, "and one finger goes"


def _tips(work, vertices):
    return vertices[:, work.bench.hand.tip_vertices]


def test_a_fork_has_two_ends_on_one_finger(work):
    u = uniforms(2, torch.arange(6), judge_kinds.NUMBERS)
    vertices = MESH_EDITS["forked"](work, u)
    for row in range(6):
        finger = int(u[row, 0] * 5)
        own, copy = work.bench.own[finger], work.bench.copies[finger]
        tip = int((own == work.bench.hand.tip_vertices[finger]).nonzero()[0, 0])
        first, second = vertices[row, own[tip]], vertices[row, copy[tip]]
        assert float((first - second).norm()) > 0.005, "two ends"
        chain = work.chain(torch.tensor([finger]).expand(6))
        near = along(work.vertices[:, own], chain)[row] < (0.5 if finger else 1.1)  # before any fork
        axis = between(chain, along(vertices[:, copy], chain))
        inside = (vertices[:, copy] - axis).norm(dim=-1)[row]
        assert float(inside[near].max()) < 0.005, "and one base, in which the second end's skin is hidden"
        others = [work.bench.copies[k] for k in range(5) if k != finger]
        assert all(torch.equal(vertices[row, c], work.vertices[row, c]) for c in others)


def test_a_skin_between_two_fingers_leaves_their_tips_and_the_other_fingers(work):
    u = uniforms(2, torch.arange(6), judge_kinds.NUMBERS)
    moved_by = (MESH_EDITS["webbed"](work, u) - work.vertices).norm(dim=-1)
    first = 1 + (u[:, 0] * 3).long()
    for row in range(6):
        touched = {k for k in range(5) if float(moved_by[row, work.bench.own[k]].max()) > 1e-6}
        assert touched == {int(first[row]), int(first[row]) + 1}
    assert float(_tips(work, moved_by[..., None]).max()) < 0.006


def test_a_crowded_finger_moves_as_a_whole_along_the_row(work):
    u = uniforms(2, torch.arange(6), judge_kinds.NUMBERS)
    step = _tips(work, MESH_EDITS["crowded"](work, u)) - _tips(work, work.vertices)
    across = torch.nn.functional.normalize(work.joints[:, 17] - work.joints[:, 5], dim=-1)
    sideways = (step * across[:, None]).sum(-1, keepdim=True) * across[:, None]
    assert torch.allclose(step, sideways, atol=1e-6) and float(step[:, 0].abs().max()) < 1e-6, "the thumb stays"
    pitch = (work.joints[:, 17] - work.joints[:, 5]).norm(dim=-1) / 3
    most = step.norm(dim=-1).amax(dim=1) / pitch
    assert bool(((most > 0.39) & (most < 0.81)).all())


def test_a_thread_holds_a_severed_end(work):
    u = uniforms(2, torch.arange(6), judge_kinds.NUMBERS)
    vertices = MESH_EDITS["severed"](work, u)
    for row in range(6):
        finger = torch.tensor([int(u[row, 0] * 5)]).expand(6)
        own = work.bench.own[int(finger[0])]
        place = along(work.vertices[:, own], work.chain(finger))
        thick = ((vertices[:, own] - between(work.chain(finger), place)).norm(dim=-1))[row]
        before = ((work.vertices[:, own] - between(work.chain(finger), place)).norm(dim=-1))[row]
        assert float((thick / before.clamp_min(1e-4)).min()) < 0.6


def test_places_on_a_chain_and_turns():
    chain = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 2]]])
    points = torch.tensor([[[0.5, 0.1, 0], [1, 0.25, 0.1], [1.1, 1, 1.0], [1, 1, 9]]])
    place = along(points, chain)
    assert torch.allclose(place, torch.tensor([[0.5, 1.25, 2.5, 3.0]]))
    assert torch.allclose(between(chain, place)[0, 2], torch.tensor([1.0, 1.0, 1.0]))
    quarter = turned(torch.tensor([[[1.0, 0, 0]]]), torch.tensor([[0.0, 0, 1]]), torch.tensor([[math.pi / 2]]))
    assert torch.allclose(quarter, torch.tensor([[[0.0, 1, 0]]]), atol=1e-6)


@pytest.mark.parametrize("kind", PICTURE_EDITS)
def test_a_picture_is_changed_where_it_should_be(kind):
    generator = torch.Generator().manual_seed(0)
    pictures, other = torch.rand(2, 3, 64, 64, generator=generator), torch.rand(2, 3, 64, 64, generator=generator)
    middle, extent = torch.full((2, 2), 0.3), torch.full((2,), 0.3)
    u = uniforms(3, torch.arange(2), judge_smears.NUMBERS)
    changed = PICTURE_EDITS[kind](pictures, other, middle, extent, u)
    assert changed.shape == pictures.shape and float((changed - pictures).abs().amax()) > 0.05
    if kind in judge_smears.LOCAL:
        assert float((changed - pictures)[..., 50:, 50:].abs().amax()) < 5e-3, "far away nothing changes"


def test_beside_the_hand_is_far_from_it():
    points = torch.rand(4, 21, 2) * 0.3
    beside = place_beside(points, uniforms(4, torch.arange(4), 16))
    assert float((beside[:, None] - points).norm(dim=-1).amin()) > 0.2


def test_blur_and_compression_of_nothing_change_nothing():
    picture = torch.rand(2, 3, 32, 32)
    assert torch.allclose(blurred(picture, 0.05), picture, atol=1e-5)
    assert torch.allclose(compressed(picture, torch.full((2,), 1e-5)), picture, atol=1e-3)
    flat = torch.full((1, 3, 32, 32), 0.37)
    assert torch.allclose(compressed(flat, torch.tensor([0.001])), flat, atol=1e-3)
    assert float((compressed(picture, torch.full((2,), 0.2)) - picture).abs().mean()) > 0.05


def test_pairs_are_one_hand_once_sound_and_once_not(pairs):
    again = draw_pairs(5, torch.arange(8), ("bones", "moved", "pasted", "spliced"), size=64)
    assert torch.equal(pairs.malformed, again.malformed) and len(pairs.kind) >= 2
    assert pairs.sound.shape == (len(pairs.kind), 3, 224, 224) and pairs.wrong.shape[1:] == (CELLS, CELLS)
    assert bool((pairs.wrong.flatten(1).amax(dim=1) > 0.2).all()) and float(pairs.wrong.max()) <= 1
    whole = draw_whole(5, torch.arange(8), ("bones", "moved", "pasted", "spliced"), size=64, plain=True)
    outside = (whole.changed == 0).expand_as(whole.sound)
    assert float((whole.sound - whole.malformed)[outside].abs().max()) <= 0.061


def test_what_happens_to_pictures_keeps_them_pictures(pairs):
    u = uniforms(6, torch.arange(len(pairs.kind)), 28)
    found = processed(pairs.sound, u)
    assert found.shape == pairs.sound.shape and float(found.min()) >= 0 and float(found.max()) <= 1
    same, wrong = moved(pairs.malformed[:1], pairs.wrong[:1], torch.full((1, 4), 0.5))
    assert torch.allclose(same, pairs.malformed[:1], atol=1e-4) and torch.allclose(wrong, pairs.wrong[:1], atol=1e-4)


def test_crops_are_the_judge_s_views():
    picture = torch.rand(1, 3, 128, 128)
    points = torch.rand(1, 21, 2, generator=torch.Generator().manual_seed(3)) * 60 + 30
    ours = crops(picture, hand_regions(points))
    views = hand_views(Pyramid(picture[0].permute(1, 2, 0)), points)
    assert views.shape == (1, len(VIEWS), 3, 224, 224) and torch.allclose(ours[0], views[0, 0], atol=1e-4)
    assert torch.allclose(views[0, 1].flip(-1), views[0, 0])
    places = points_in_view(points[0])
    back = to_picture(hand_regions(points)[0], places - 0.5)
    assert torch.allclose(back, points[0], atol=1e-3)


def test_a_network_comes_back_from_its_file(tmp_path, pairs):
    torch.manual_seed(0)
    network = JudgeNetwork().eval()
    save_network(network, tmp_path / "n.safetensors", {"steps": 0})
    other = load_network(tmp_path / "n.safetensors")
    views = pairs.sound[:1, None].expand(-1, len(VIEWS), -1, -1, -1)
    first, wrong = look(views, network)
    again, _ = look(views, other)
    assert first.shape == (1,) and wrong.shape == (1, CELLS, CELLS) and torch.allclose(first, again, atol=0.02)
    with pytest.raises(FileNotFoundError, match="install HanDrawer again"):
        load_network(tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="cannot be read"):
        load_network(tmp_path / "bad.safetensors")
    with pytest.raises(ValueError, match="224 pixels"):
        seen_in(torch.zeros(1, 3, 64, 64))


def test_the_network_that_ships_is_small_and_the_report_says_what_it_has_seen():
    assert WEIGHTS_FILE.stat().st_size < 1_000_000
    about = about_network()
    assert set(about["kinds"]) == set(TRAINING_KINDS)
    before = about
    while before := before.get("before"):
        assert not set(before["kinds"]) & set(KINDS), "the test's kinds are new to it"
    text = (Path(__file__).parents[2] / "reports" / "judge" / "report.md").read_text(encoding="utf-8")
    assert "kinds that it has not seen" in text and all(kind in text for kind in TRAINING_KINDS)


@pytest.fixture(scope="module")
def kept(pairs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pool")
    save_pairs(pairs, folder / "00007.safetensors")
    cache(folder, folder / "cache", 2)
    return folder


def test_training_in_sixteen_bits_ends_near_the_one_in_32(tmp_path, kept):
    options = {"device": "cpu", "seconds": 1e9, "batch": 2, "steps": 2}
    whole = train(read_cache(kept / "cache"), tmp_path / "a", **options).state_dict()
    short = train(read_cache(kept / "cache"), tmp_path / "b", short=True, **options).state_dict()
    moved_by = [float((short[name] - whole[name]).abs().max()) for name in whole if whole[name].is_floating_point()]
    assert 0 < max(moved_by) < 0.3


def test_training_learns_and_goes_on_where_it_stopped(tmp_path, kept):
    options = {"device": "cpu", "seconds": 1e9, "batch": 2}
    straight = train(read_cache(kept / "cache"), tmp_path / "a", steps=3, **options)

    class Stopped(Cache):
        left = 2

        def batch(self, rows, u):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return super().batch(rows, u)

    stopped = read_cache(kept / "cache")
    stopped.__class__ = Stopped
    with pytest.raises(KeyboardInterrupt):
        train(stopped, tmp_path / "b", steps=3, save_every=0.0, **options)
    assert not (tmp_path / "b" / "network.safetensors").exists()
    again = train(read_cache(kept / "cache"), tmp_path / "b", steps=3, **options)
    for name, value in straight.state_dict().items():
        assert torch.allclose(value, again.state_dict()[name], atol=1e-4), name
    start = JudgeNetwork().state_dict()["fine.weight"]
    assert not torch.equal(start, straight.state_dict()["fine.weight"])


def test_what_was_seen_is_kept(kept, pairs, tmp_path):
    pool, cached = Pool(read_pairs(kept, "cpu")), read_cache(kept / "cache")
    assert torch.equal(pool.sound, in_bytes(pairs).sound) and len(cached) == len(pairs.kind)
    u = uniforms(305, torch.arange(2 * len(cached)), 32, stream=63 + 7)
    torch.manual_seed(7)
    crops, good, wrong = pool.batch(torch.arange(len(cached)), u)
    first, told, map_ = cached.batch(torch.arange(len(cached)), torch.zeros(2 * len(cached), 1))
    assert torch.equal(good, told) and torch.allclose(wrong, map_, atol=1 / 128)
    for ours, seen in zip(first, seen_in(crops), strict=True):
        assert ours.shape == seen.shape and torch.allclose(ours, seen, atol=0.02, rtol=2e-3)
    other = cached.batch(torch.arange(len(cached)), torch.ones(2 * len(cached), 1) * 0.9)[0]
    assert all(not torch.equal(a, b) for a, b in zip(first, other, strict=True))
    with pytest.raises(ValueError, match="command cache first"):
        read_cache(tmp_path)
    with pytest.raises(ValueError, match="draw them first"):
        read_pairs(tmp_path, "cpu")


def test_the_possible_hand_lies_over_the_hand(pairs):
    """The fit to a sound hand covers what differs from the background, and nothing where there is no hand."""
    whole = draw_whole(5, torch.arange(24), ("bones", "warped"), size=128, plain=True)
    regions = hand_regions(whole.scene.joints_2d * 128)
    drawn = seen_in(crops(whole.sound, regions))[2]
    assert drawn.shape[1:] == (CHANNELS, 56, 56) and float(drawn.min()) >= 0 and float(drawn.max()) <= 1
    covered = drawn[:, 3:9].sum(dim=1)
    assert torch.equal((covered > 0.5), drawn[:, 9:12].abs().sum(dim=1) > 0), "normals where there is a hand alone"
    joints = torch.stack([points_in_view(p) for p in whole.scene.joints_2d * 128])
    at = (joints[:, [0, 5, 9, 13, 17]].mean(dim=1) * 56).long().clamp(0, 55)
    assert bool((drawn[torch.arange(len(at)), 3, at[:, 1], at[:, 0]] > 0.5).float().mean() > 0.7), "the palm is there"
    tips = (joints[:, 12] * 56).long().clamp(0, 55)
    near = [covered[i, max(0, y - 4) : y + 5, max(0, x - 4) : x + 5].max() for i, (x, y) in enumerate(tips.tolist())]
    assert float(torch.stack(near).mean()) > 0.8, "and so are tips"


def test_changes_of_the_mesh_are_made_where_they_show():
    whole = draw_whole(5, torch.arange(40), ("bones", "pasted"), size=64, plain=True)
    straight = straight_fingers(whole.scene.angles)[:, 1:].sum(dim=1)
    mesh = whole.kind == TRAINING_KINDS.index("bones")
    assert bool(mesh.any()) and bool((straight[mesh] >= SHOWN).all()) and bool((whole.scene.view[mesh] < 2).all())
    assert bool((straight[~mesh] < SHOWN).any() | (whole.scene.view[~mesh] == 2).any()), "others have any pose"
    alone = draw_whole(5, torch.arange(40), ("bones",), size=64, plain=True)
    assert set(alone.scene.index.tolist()) <= set(range(40)) and bool((alone.scene.view < 2).all())


def test_what_is_wrong_is_told_by_finger():
    points = torch.full((21, 2), 0.5)
    for finger in range(5):
        for joint in range(4):
            points[1 + 4 * finger + joint] = torch.tensor([0.15 + 0.17 * finger, 0.7 - 0.15 * joint])
    points[0] = torch.tensor([0.5, 0.9])
    wrong = torch.zeros(CELLS, CELLS)
    assert parts_in_doubt(wrong, points) == {}
    x, y = (points[8] * CELLS).long().tolist()
    wrong[y - 1 : y + 2, x - 1 : x + 2] = 0.9
    assert list(parts_in_doubt(wrong, points)) == ["index"]
    x, y = (points[12] * CELLS).long().tolist()
    wrong[y - 2 : y + 2, x - 2 : x + 2] = 0.9
    assert list(parts_in_doubt(wrong, points)) == ["middle", "index"]


def test_labels_and_answers_belong_to_their_sheets(tmp_path):
    assert sorted(order()) == list(range(COUNT)) and order() != sorted(order())
    path = tmp_path / "labels.json"
    path.write_text(json.dumps({"labels": ["sound"] * (COUNT - 1) + ["malformed"]}), encoding="utf-8")
    labels = read_labels(path)
    assert labels[order()[-1]] == "malformed" and list(labels.values()).count("sound") == COUNT - 1
    path.write_text(json.dumps({"labels": ["fine"] * COUNT}), encoding="utf-8")
    with pytest.raises(ValueError, match="sound, malformed, unclear"):
        read_labels(path)
    quality = torch.rand(40, 8, generator=torch.Generator().manual_seed(0))
    pairs = pairs_of(quality)
    assert all(a == int(row.argmax()) and a != b for (a, b, _), row in zip(pairs, quality, strict=True))
    assert 8 < sum(left for _, _, left in pairs) < 32
    picked = ["left" if left else "right" for _, _, left in pairs]
    assert count_answers(picked, pairs) == [1] * 40 and count_answers(["equal"] * 40, pairs) == [0] * 40
    with pytest.raises(ValueError, match="left, right or equal"):
        count_answers(["both"], pairs)
