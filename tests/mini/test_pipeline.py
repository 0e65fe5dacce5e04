import shutil

import pytest
import torch

from handrawer.hand.hands import Hands, hand_from_gesture
from handrawer.mini.pipeline import ADAPTER_FILE, WEIGHTS, default_prompt, load_mini

SIZE = (96, 96)


@pytest.fixture(scope="module")
def pipe():
    return load_mini()


@pytest.fixture(scope="module")
def hands():
    return Hands((hand_from_gesture("peace", "right", 256, 256, size=0.7),))


def draw(pipe, hands, **options):
    return pipe.sample(["a right hand"], hands, [3], steps=2, guidance=2.0, size=SIZE, **options)


def test_the_hand_steers_the_picture(pipe, hands):
    with_, without = draw(pipe, hands), draw(pipe, None)
    assert with_.shape == (1, *SIZE, 3) and float(with_.min()) >= 0 and float(with_.max()) <= 1
    assert float((with_ - without).abs().mean()) > 0.02


def test_strength_zero_and_no_hand_are_the_base_to_the_bit(pipe, hands):
    base = draw(pipe, None)
    assert torch.equal(draw(pipe, hands, strength=0.0), base)
    empty = Hands((type(hands.frames[0])(256, 256, ()),))
    assert torch.equal(draw(pipe, empty), base)


def test_a_picture_depends_on_its_own_seed(pipe):
    one = pipe.sample(["a left hand"], None, [5], steps=1, guidance=1.0, size=SIZE)
    two = pipe.sample(["a left hand"] * 2, None, [9, 5], steps=1, guidance=1.0, size=SIZE)
    assert torch.allclose(one[0], two[1], atol=1e-3)
    assert float((two[0] - two[1]).abs().mean()) > 0.02


def test_seeds_must_match_prompts(pipe):
    with pytest.raises(ValueError, match="2 prompts need 2 seeds, not 1"):
        pipe.sample(["a", "b"], None, [1])


def test_the_default_prompt_says_the_side(hands):
    assert default_prompt(hands.frames[0].hands[0]).startswith("a right hand")


def test_missing_and_damaged_weights_get_a_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"weights are missing or damaged .unet."):
        load_mini(tmp_path)
    folder = tmp_path / "weights"
    shutil.copytree(WEIGHTS, folder)
    (folder / ADAPTER_FILE).write_bytes(b"not a file")
    with pytest.raises(ValueError, match=ADAPTER_FILE.replace(".", r"\.")):
        load_mini(folder)


def test_the_weights_keep_to_their_size():
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()) < 48e6
