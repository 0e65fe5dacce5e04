import torch

from handrawer.evaluate.obedience import (
    Answers,
    Examiner,
    Reader,
    border_colour,
    colour_features,
    plain_scenes,
    renders,
    shape_vector,
)
from handrawer.hand.hands import make_hand
from handrawer.hand.model import load_open_hand


def test_a_shape_does_not_change_with_place_turn_and_size():
    hand = make_hand(load_open_hand(), width=256, height=256)
    turned = make_hand(load_open_hand(), orientation=(0.3, 1.0, -0.5), width=256, height=256)
    assert torch.allclose(shape_vector(hand.joints), shape_vector(turned.joints * 3 + 5), atol=1e-4)


def test_the_border_is_read_beside_the_hand():
    picture = torch.zeros(64, 64, 3)
    picture[:, :24] = torch.tensor([0.9, 0.7, 0.6])
    assert torch.equal(border_colour(picture, torch.tensor([0.9, 0.7, 0.6])), torch.zeros(3))


def test_a_reader_learns_what_can_be_told():
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(400, 12, generator=generator)
    alone = (features[:, 9] > 0).long()
    together = (features[:, 0] * features[:, 1] > 0).long()

    def right(labels: torch.Tensor, paired: int) -> int:
        reader = Reader(features[:300], labels[:300], 2, paired)
        return sum(reader(f) == int(y) for f, y in zip(features[300:], labels[300:], strict=True))

    assert right(alone, 0) > 85 and right(together, 2) > 68 and right(together, 0) < 62


def test_light_from_the_left_runs_down_to_the_right():
    points = torch.rand(21, 2, generator=torch.Generator().manual_seed(2)) * 0.6 + 0.2
    shade = torch.linspace(0.9, 0.2, 128)[None, :, None].expand(128, 128, 3)
    across, down = colour_features(shade, points, "right")[6:8].tolist()
    assert across < -0.1 and abs(down) < 0.05


def test_renders_are_recognised_and_swapped_ones_are_not():
    model = load_open_hand()
    scene = plain_scenes(72, model)
    truth, captions = renders(scene, model, 2000, size=128), scene.captions()
    examiner = Examiner(truth[:48], captions[:48])
    right = examiner.examine(truth[48:], captions[48:])
    assert right.right["found"] >= 18 and right.right["gesture"] >= 0.5 * right.asked["gesture"]
    assert right.right["background"] >= 0.5 * right.asked["background"]
    wrong = examiner.examine(truth[48:], captions[24:48])
    assert wrong.right["gesture"] < 0.3 * wrong.asked["gesture"]
    assert wrong.right["background"] < 0.4 * wrong.asked["background"]


def test_answers_say_of_how_many():
    answers = Answers()
    for right in (True, False, True, True):
        answers.add("side", right)
    assert answers.cells(("side", "skin")) == ["0.75 of 4", "not asked"]
