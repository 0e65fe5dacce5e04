import pytest
import torch

from handrawer.hand.anatomy import LIMITS
from handrawer.hand.model import load_open_hand
from handrawer.mini.captions import Caption, words
from handrawer.mini.modules import UNKNOWN, make_tokenizer, tokenize
from handrawer.mini.picture import draw_pictures, make_skin
from handrawer.mini.scene import NAMELESS, draw_scenes, hand_vertices, scene_hands
from handrawer.render.maps import render_hands


@pytest.fixture(scope="module")
def model():
    return load_open_hand()


@pytest.fixture(scope="module")
def scenes(model):
    return draw_scenes(8, torch.arange(64), model)


def test_a_scene_depends_on_its_number_alone(model, scenes):
    again = draw_scenes(8, torch.tensor([5, 17]), model)
    for name in ("gesture", "side", "view", "skin", "light", "angles", "translation", "focal"):
        assert torch.allclose(getattr(again, name), getattr(scenes, name)[[5, 17]], atol=1e-6)
    assert torch.allclose(again.posed.vertices, scenes.posed.vertices[[5, 17]], atol=1e-6)


def test_hands_are_possible_and_in_the_frame(model, scenes):
    assert bool((scenes.angles >= LIMITS[:, 0] - 1e-6).all() and (scenes.angles <= LIMITS[:, 1] + 1e-6).all())
    flat = scenes.project(scenes.posed.vertices[:, hand_vertices(model)])
    extent = (flat.amax(1) - flat.amin(1)).amax(-1)
    assert float(extent.min()) > 0.55 and float(extent.max()) < 0.95
    middle = (flat.amax(1) + flat.amin(1)) / 2
    assert float((middle - 0.5).abs().max()) < 0.4


def test_seeds_and_numbers_give_different_hands(model, scenes):
    other = draw_scenes(9, torch.arange(64), model)
    assert float((other.angles - scenes.angles).abs().mean()) > 0.05
    assert len(set(scenes.gesture.tolist())) > 8 and NAMELESS in scenes.gesture.tolist()


def test_captions_say_what_is_drawn_in_known_words(scenes):
    tokenizer = make_tokenizer()
    captions = scenes.captions()
    assert {caption.side for caption in captions} == {"left", "right"}
    ids = tokenize(tokenizer, [caption.text() for caption in captions])
    assert ids.shape == (64, 77) and UNKNOWN not in ids
    for caption, left in zip(captions, scenes.left.tolist(), strict=True):
        assert caption.text().startswith("a left hand" if left else "a right hand")


def test_a_caption_drops_parts_but_never_the_side():
    caption = Caption("ok", "left", "palm", "tan", "bare arm", "natural nails", "grey", "soft")
    assert caption.text([False]) == "a left hand"
    assert "ok sign" in caption.text() and "nails" not in caption.text()
    assert all(word in words() for word in caption.text().replace(",", " ").split())


def test_hands_of_a_scene_are_its_labels(model, scenes):
    hands = scene_hands(scenes, model)
    for k in (0, 11, 40):
        (hand,) = hands.frames[k].hands
        assert hand.side == ("left" if scenes.left[k] else "right")
        assert torch.allclose(hand.joints, scenes.posed.joints[k], atol=1e-4)
        assert torch.allclose(hand.joints_2d, scenes.joints_2d[k], atol=1e-3)


def test_pictures_show_the_hand_where_the_labels_say(model):
    scenes = draw_scenes(8, torch.arange(4), model)
    pictures = draw_pictures(scenes, model, make_skin(model), size=128)
    assert pictures.shape == (4, 3, 128, 128) and float(pictures.min()) >= 0 and float(pictures.max()) <= 1
    masks = render_hands(scene_hands(scenes, model), 128, 128).mask
    corner_like = pictures[:, :, :4, :4].mean((2, 3))
    for picture, mask, around in zip(pictures, masks, corner_like, strict=True):
        inside = picture[:, mask > 0.99].std(dim=1).mean()
        assert float(inside) > 0.02  # shaded, not flat
        assert float((picture[:, mask > 0.99].mean(1) - around).abs().max()) > 0.03


def test_the_same_scene_gives_the_same_picture(model):
    skin = make_skin(model)
    both = draw_pictures(draw_scenes(8, torch.tensor([3, 4]), model), model, skin, size=64)
    one = draw_pictures(draw_scenes(8, torch.tensor([4]), model), model, skin, size=64)
    assert torch.allclose(both[1:], one, atol=2e-3)
