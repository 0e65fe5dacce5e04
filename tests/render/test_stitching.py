"""Crops of hands at the edge of their picture."""

import pytest
import torch

from handrawer.hand.hands import Hands, hand_from_gesture
from handrawer.render.stitching import crops, cut_pieces, stitch


@pytest.mark.parametrize("centre", [(0.05, 0.5), (0.5, 0.97)])
def test_a_crop_beyond_the_picture_shows_no_black(centre):
    """What draws the crop anew sees the whole of it, and takes a black bar for a part of the scene."""
    hands = Hands((hand_from_gesture("open", "right", 96, 96, centre=centre, size=1.2),))
    wall = torch.full((1, 96, 96, 3), 0.7)
    pieces = cut_pieces(hands, [[0]], 128, margin=0.3)
    cut = crops(wall, pieces)
    assert torch.allclose(cut, torch.full_like(cut, 0.7))
    tinted, changed = stitch(wall, cut * 0.9, pieces, match_colours=True)
    assert bool((changed > 0.5).any())
    assert torch.allclose(tinted, wall, atol=1e-3), "colours are matched by what lies in the picture"
