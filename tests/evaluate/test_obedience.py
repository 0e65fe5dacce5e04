import torch

from handrawer.evaluate.obedience import Answers, Examiner, border_colour, gesture_shapes, plain_scenes, shape_vector
from handrawer.hand.hands import make_hand
from handrawer.hand.model import load_open_hand
from handrawer.mini.picture import draw_pictures, make_skin
from handrawer.mini.scene import scene_hands
from handrawer.render.maps import render_hands


def test_a_shape_does_not_change_with_place_turn_and_size():
    hand = make_hand(load_open_hand(), width=256, height=256)
    turned = make_hand(load_open_hand(), orientation=(0.3, 1.0, -0.5), width=256, height=256)
    assert torch.allclose(shape_vector(hand.joints), shape_vector(turned.joints * 3 + 5), atol=1e-4)


def test_gestures_have_different_shapes():
    names, shapes = gesture_shapes(load_open_hand())
    apart = torch.cdist(shapes, shapes).fill_diagonal_(1.0)
    assert len(names) >= 12 and float(apart.min()) > 0.01


def test_the_border_is_read_beside_the_hand():
    picture, mask = torch.zeros(64, 64, 3), torch.zeros(64, 64)
    picture[:, :30] = 1.0
    mask[:, :40] = 1.0
    assert torch.equal(border_colour(picture, mask), torch.zeros(3))


def test_renders_are_recognised_and_swapped_ones_are_not():
    model = load_open_hand()
    scene = plain_scenes(24, model)
    truth = draw_pictures(scene, model, make_skin(model), seed=1).permute(0, 2, 3, 1)
    masks = render_hands(scene_hands(scene, model), 256, 256).mask
    examiner = Examiner(truth, masks, scene.captions(), model)
    right = examiner.examine(truth, True)
    assert right.right["background"] >= 22 and right.right["skin"] >= 12
    wrong = examiner.examine(truth.roll(1, 0), False)
    assert wrong.right["background"] < 12


def test_answers_say_of_how_many():
    answers = Answers()
    for right in (True, False, True, True):
        answers.add("side", right)
    assert answers.cells(("side", "skin")) == ["0.75 of 4", "not asked"]
