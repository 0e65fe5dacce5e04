"""Malformed synthetic hands, and the judge that was fitted to them."""

import dataclasses
import json

import pytest
import torch

from handrawer.estimate.find import Landmarks
from handrawer.evaluate import judge
from handrawer.evaluate.best_of import aligned_pck, answers_against_chance, picked_against_random, templates
from handrawer.evaluate.judge import (
    REASONS,
    Judgement,
    JudgeModel,
    PictureJudgement,
    hands_to_judge,
    judge_model,
    judge_pictures,
    reasons_of,
)  # fmt: skip
from handrawer.evaluate.judge_blind import pairs_of, read_labels
from handrawer.evaluate.judge_fit import KINDS, Measured, auc, fit, load_measured, qualities, save_measured
from handrawer.evaluate.judge_report import report
from handrawer.evaluate.judge_signals import BONES, bone_ratios
from handrawer.evaluate.malformed import draw_malformed
from handrawer.hand.hands import Hands, hand_from_gesture
from handrawer.render.pictures import load_picture
from tests.evaluate.hands_picture import EXAMPLE


@pytest.fixture(scope="module")
def example():
    return load_picture(EXAMPLE)


@pytest.fixture(scope="module")
def judged(example):
    return judge_pictures(example, thoroughness="fast")


@pytest.mark.parametrize("kind", KINDS)
def test_malformations_show_and_leave_the_rest_of_the_picture(kind):
    index = torch.arange(16, 24)
    drawn = draw_malformed(3, index, kind, size=64)
    again = draw_malformed(3, index, kind, size=64)
    assert torch.equal(drawn.pictures, again.pictures) and set(drawn.kind) <= {kind}
    assert drawn.pictures.shape[1:] == (3, 64, 64) and len(drawn.finger) == len(drawn.kind) == len(drawn.scene.index)
    sound = draw_malformed(3, drawn.scene.index, None, size=64, any_pose=True)
    changed = (sound.pictures - drawn.pictures).abs().amax(dim=1) > 0.06
    assert bool((changed.flatten(1).float().mean(dim=1) > 0.005).all())
    assert bool((changed.flatten(1).float().mean(dim=1) < 0.4).all()), "the same hand but for a finger"


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="missing, extra, fused, backwards"):
        draw_malformed(3, torch.arange(1), "furry")


def test_a_picture_s_hands_are_judged_the_same_each_time(example, judged):
    (picture,) = judged
    assert picture.hands and all(0 < hand.quality < 1 for hand in picture.hands)
    assert picture.quality == min(hand.quality for hand in picture.hands) and picture.match is None
    again = judge_pictures(example, thoroughness="fast")[0]
    assert [hand.quality for hand in again.hands] == [hand.quality for hand in picture.hands]
    assert [hand.confidence for hand in picture.frame.hands] == pytest.approx([h.quality for h in picture.hands])


def test_no_hand_is_the_worst_and_no_error():
    (picture,) = judge_pictures(torch.full((1, 96, 96, 3), 0.5), thoroughness="fast")
    assert picture.quality == 0 and picture.hands == () and "No hand" in picture.frame.note


def test_the_match_to_wanted_hands(example, judged):
    height, width = example.shape[1:3]
    wanted = Hands((dataclasses.replace(judged[0].frame, hands=judged[0].frame.hands),))
    (same,) = judge_pictures(example, wanted=wanted, thoroughness="fast")
    assert same.missing == 0 and same.match is not None and same.match > 0.8
    away = hand_from_gesture("fist", "left", width, height, centre=(0.05, 0.05), size=0.05)
    (other,) = judge_pictures(example, wanted=Hands((away,)), thoroughness="fast")
    assert other.missing == 1 and other.match == 0 and other.quality == 0
    with pytest.raises(ValueError, match="place them on the picture first"):
        judge_pictures(example, wanted=Hands((hand_from_gesture("fist", "left", 64, 640),)), thoroughness="fast")


FOR = ("presence", "network")  # the signals that speak for a hand


def test_the_model_that_ships_takes_nothing_amiss_for_good():
    model = judge_model()
    assert JudgeModel.from_json(model.to_json()).to_json() == model.to_json()
    plain = dict(zip(model.names, model.mean.tolist(), strict=True))
    best = {name: value - 3 * float(spread) for (name, value), spread in zip(plain.items(), model.spread, strict=True)}
    best |= {name: plain[name] + 3 for name in plain if name.startswith(FOR)}
    assert model.quality(best) > 0.5
    for name, weight in zip(model.names, model.weights.tolist(), strict=True):
        assert weight >= 0 if name.startswith(FOR) else weight <= 0, name
        assert any(name.startswith(start) for start in (*REASONS, "apart", "uneven")), name


def test_reasons_are_the_heaviest_first():
    assert reasons_of({"residual": -0.5, "residual_most": -0.6, "more": -2.0, "scatter": 0.4}) == (
        REASONS["more"], REASONS["residual"],
    )  # fmt: skip
    assert reasons_of({"more": -0.1}) == ()
    assert reasons_of({"network": -2.0}) == (REASONS["network"],)
    assert reasons_of({"network": -2.0}, ("index",)) == ("its index finger looks wrong",)
    assert reasons_of({"network": -2.0}, ("thumb", "palm", "ring")) == ("its thumb and its palm look wrong",)


def made_up(generator: torch.Generator, shift: float, kind: str, count: int = 40) -> dict:
    world = torch.randn(21, 3, generator=torch.Generator().manual_seed(5)) * 0.03
    signals = torch.randn(count, 2, generator=generator) + torch.tensor([shift, -shift])
    return {
        "kind": (kind,) * count, "found": torch.ones(count, dtype=torch.bool), "signals": signals,
        "world": world + 0.001 * torch.randn(count, 21, 3, generator=generator),
        "flat": torch.randn(count, 21, 2, generator=generator), "right": torch.ones(count, dtype=torch.bool),
        "features": torch.zeros(count, 4), "views": torch.zeros(count, 1, 3, 4, 4, dtype=torch.uint8),
    }  # fmt: skip


def test_a_fit_tells_what_it_learned_and_keeps_the_signs(tmp_path):
    generator = torch.Generator().manual_seed(0)
    sets = [made_up(generator, 0.0, "sound"), made_up(generator, 2.5, "missing")]
    joined = {
        key: sets[0][key] + sets[1][key] if key == "kind" else torch.cat([s[key] for s in sets]) for key in sets[0]
    }
    part = Measured(names=("scatter", "residual"), **joined)  # pyright: ignore[reportArgumentType]
    save_measured(str(tmp_path / "m.safetensors"), train=part)
    told = torch.cat([torch.ones(40), -torch.ones(40)])
    part = dataclasses.replace(load_measured(str(tmp_path / "m.safetensors"), views=True)["train"], sound={"": told})
    assert part.views is not None and part.views.shape == (80, 1, 3, 4, 4)
    save_measured(str(tmp_path / "m.safetensors"), train=dataclasses.replace(part, views=None))
    part = load_measured(str(tmp_path / "m.safetensors"))["train"]
    assert torch.equal(part.sound[""], told) and part.views is None
    both = fit(part, ("missing",))
    assert dict(zip(both.names, both.weights.tolist(), strict=True))["network"] > 0.3, "the greater the better"
    model = fit(part, ("missing",), None)
    weights = dict(zip(model.names, model.weights.tolist(), strict=True))
    assert weights["scatter"] < -0.3, "the greater the worse"
    assert weights["residual"] == 0, "it fell where it should have risen: left out"
    quality = qualities(model, part, None)
    assert auc(quality[part.rows("sound")], quality[part.rows("missing")]) > 0.9


def test_auc_counts_ties_half():
    assert auc(torch.tensor([0.9, 0.5]), torch.tensor([0.5, 0.1])) == pytest.approx(0.875)


def test_bone_ratios_do_not_know_the_size():
    world = torch.randn(3, 21, 3)
    assert bone_ratios(world).shape == (3, len(BONES))
    assert torch.allclose(bone_ratios(world), bone_ratios(world * 2.5), atol=1e-5)


def test_a_missing_wanted_hand_makes_a_picture_bad(judged):
    hand = judged[0].hands[0]
    assert PictureJudgement(64, 64, (hand,)).quality == hand.quality
    assert PictureJudgement(64, 64, (hand,), missing=1).quality == 0
    assert isinstance(hand, Judgement) and hand.good == (hand.quality >= 0.5)


def test_alignment_forgives_place_size_and_turn_but_no_mirror():
    known = templates("peace", "right", "palm")
    assert known.shape == (25, 21, 2)
    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]])
    assert aligned_pck(known[7] @ turn.mT * 0.4 + 30, known) == 1.0
    mirrored = known[7] * torch.tensor([-1.0, 1.0])
    assert aligned_pck(mirrored, known) < 0.8 and aligned_pck(templates("fist", "right", "palm")[12], known) < 0.8


class Finder:
    """A detector that finds these, by how sure it is of each; counts how often it is asked."""

    def __init__(self, presences, thoroughness="balanced", min_confidence=0.5):
        self.presences, self.thoroughness, self.min_confidence, self.max_hands = (
            presences, thoroughness, min_confidence, 7,
        )  # fmt: skip
        self.asked = 0

    def __call__(self, picture, boxes=None):
        self.asked += 1
        return [Landmarks(torch.zeros(21, 2), torch.zeros(21, 3), "right", 1.0, p) for p in self.presences]


def test_where_nothing_is_found_further_looks_keep_what_is_as_sure_as_was_asked_for(monkeypatch):
    made = []

    def patient(max_hands, min_confidence, thoroughness):
        made.append((max_hands, min_confidence, thoroughness))
        return Finder([0.9, 0.5, 0.45] if thoroughness == "thorough" else [0.3], thoroughness)

    monkeypatch.setattr(judge, "detector_of_judge", patient)
    picture = torch.zeros(64, 64, 3)
    first = Finder([])
    assert [hand.presence for hand in hands_to_judge(picture, first)] == [0.9, 0.5]  # pyright: ignore[reportArgumentType]
    assert [how for _, _, how in made] == ["balanced", "thorough"] and first.asked == 1
    assert all(most == 7 and 0 < least < 0.5 for most, least, _ in made)
    assert len(hands_to_judge(picture, Finder([0.6]))) == 1 and not hands_to_judge(picture, Finder([], "fast"))  # pyright: ignore[reportArgumentType]
    assert len(made) == 2, "no further look where something is found, or where it should be fast"


def test_no_hand_is_none_after_all_looks():
    (nothing,) = judge_pictures(torch.full((1, 96, 96, 3), 0.5))
    assert not nothing.hands and nothing.quality == 0


def test_picking_against_a_random_pick():
    truth = torch.rand(40, 8, generator=torch.Generator().manual_seed(0))
    picked, random, gain, low, high = picked_against_random(truth, truth)
    assert picked == pytest.approx(float(truth.amax(dim=1).mean())) and random == pytest.approx(float(truth.mean()))
    assert 0 < low < gain < high
    assert abs(picked_against_random(torch.rand(40, 8, generator=torch.Generator().manual_seed(1)), truth)[2]) < 0.15


def test_the_report_tells_kinds_labels_and_what_was_left_out(tmp_path):
    generator = torch.Generator().manual_seed(1)
    kinds = ("sound", "any", *KINDS, "other")
    sets = [made_up(generator, 0.0 if kind in kinds[:2] else 1.5, kind, 30) for kind in kinds]
    joined = {
        key: sum((s[key] for s in sets), ()) if key == "kind" else torch.cat([s[key] for s in sets]) for key in sets[0]
    }
    joined["signals"] *= torch.tensor([1.0, -1.0])  # so that both grow the worse a hand is
    joined["views"] = None
    logits = torch.tensor([1.0 if kind in kinds[:2] else -1.0 for kind in joined["kind"]]) + torch.randn(
        len(joined["kind"]), generator=generator
    )
    part = Measured(names=("scatter", "residual"), sound={"": logits, "missing": logits, "learned": logits}, **joined)  # pyright: ignore
    labels = {"labelled by": "a test", "labels": ["sound", "malformed", "unclear"] * 20}
    (tmp_path / "labels.json").write_text(json.dumps(labels), encoding="utf-8")
    quality = torch.zeros(60)
    for number, label in read_labels(tmp_path / "labels.json").items():
        quality[number] = {"sound": 0.9, "malformed": 0.1, "unclear": 0.5}[label]
    text = report({"train": part, "test": part}, (), (quality, tmp_path / "labels.json"), [part])
    line, again, learned = [line for line in text.splitlines() if "**all four**" in line]
    assert line == again == learned, "the same hands and the same network"
    assert "test number 2" in text and "After learning the four kinds too" in text
    cells = [cell.strip() for cell in line.split("|")]
    assert cells[2] == "30 + 120" and 0.8 < float(cells[3].split()[0]) <= 1
    assert float(cells[3].split()[0]) > float(cells[5].split()[0]), "the network helps"
    assert "| all | 20 + 20 | 1.000 (1.000 to 1.000) |" in text and "| missing |" in text.split("Leave one kind out")[1]


def test_answers_to_pairs_are_counted_for_the_picked_one(tmp_path):
    quality = torch.rand(12, 8, generator=torch.Generator().manual_seed(2))
    answers = ["left" if left else "right" for _, _, left in pairs_of(quality)]
    answers[0] = "equal"
    answers[1] = "left" if answers[1] == "right" else "right"
    (tmp_path / "a.json").write_text(json.dumps({"answered by": "a test", "answers": answers}), encoding="utf-8")
    (text,) = answers_against_chance(quality, tmp_path / "a.json")
    assert "of 12 pairs" in text and "better made in 10, the other in 1, neither in 1" in text and "+0.75" in text
