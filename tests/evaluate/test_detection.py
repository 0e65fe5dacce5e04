"""What counts as found; pictures of several hands and of none, and what is found in them."""

import math

import pytest
import torch

from handrawer.estimate.landmarks import LandmarkDetector
from handrawer.evaluate import crowds
from handrawer.evaluate.agreement import CroppedInBytes, through_the_packages_crop
from handrawer.evaluate.agreement import measure as measure_agreement
from handrawer.evaluate.backdrops import KINDS, arms, backdrop, empty_picture
from handrawer.evaluate.crowds import WISHES, crowd
from handrawer.evaluate.detection import Count, Found, Known, known_of, measure, ours
from handrawer.evaluate.parallel import mapped
from handrawer.hand.model import load_open_hand
from handrawer.mini.picture import draw_pictures, make_skin
from handrawer.mini.scene import draw_scenes

MODEL = load_open_hand()


@pytest.fixture(scope="module")
def skin():
    return make_skin(MODEL)


def hand_at(x: float, y: float, seed: int = 1) -> torch.Tensor:
    return torch.rand(21, 2, generator=torch.Generator().manual_seed(seed)) * 100 + torch.tensor([x, y])


def test_every_known_hand_takes_one_find_and_the_rest_are_doubles_or_invented():
    known = [Known(hand_at(0, 0), "left"), Known(hand_at(300, 0), "right"), Known(hand_at(0, 300), "left", asked=False)]
    found = [
        Found(hand_at(4, 0), "left"),
        Found(hand_at(9, 0), "left"),  # the same hand again
        Found(hand_at(305, 0), "left", unsure=True),
        Found(hand_at(0, 302), "right"),  # nobody asked for it, and it is no invention
        Found(hand_at(600, 600), "left"),
    ]
    count = Count()
    count.add(known, found)
    assert count == Count(
        pictures=1, hands=2, found=2, right_side=1, unsure=1, wrong_and_sure=0, doubles=1, invented=1
    )  # fmt: skip
    count.add([], [])
    assert (count.pictures, count.invented) == (2, 1)


def test_boxes_that_a_person_drew_are_compared_with_boxes():
    count = Count()
    points = hand_at(0, 0)
    box = torch.cat([points.amin(dim=0) - 20, points.amax(dim=0) + 20])
    count.add([Known(box, "right"), Known(box + 400, "right")], [Found(points, "right")])
    assert (count.hands, count.found, count.right_side, count.invented) == (2, 1, 1, 0)


@pytest.mark.parametrize("kind", ["small hands", "crossed"])
def test_drawn_hands_lie_where_their_joints_are_said_to(kind, skin):
    drawn = crowd(kind, 1, MODEL, skin, 320, 240)
    again = crowd(kind, 1, MODEL, skin, 320, 240)
    assert torch.equal(drawn.picture, again.picture) and drawn.picture.shape == (240, 320, 3)
    assert len(drawn.hands) == len(WISHES[kind](crowds.random.Random(f"{kind} 1")))
    # Each joint of the hand on top lies on skin: its colour is not the backdrop's.
    top = drawn.hands[-1]
    assert top.hidden == 0
    x, y = top.points.round().long().unbind(-1)
    inside = (x >= 0) & (x < 320) & (y >= 0) & (y < 240)
    colours = drawn.picture[y[inside], x[inside]]
    assert float(colours.std(dim=0).max()) < 0.25


def test_the_hidden_share_counts_joints_under_another_hand():
    over = torch.zeros(50, 50)
    over[:, :25] = 1
    points = torch.stack([torch.linspace(0, 49, 21), torch.full((21,), 10.0)], dim=-1)
    assert crowds._share_under(points, over) == pytest.approx(11 / 21, abs=0.06)
    assert crowds._share_under(points + 100, over) == 0


def test_backdrops_are_pictures_made_from_their_number(skin):
    for kind in KINDS:
        one = backdrop(kind, 96, 64, 3)
        assert one.shape == (64, 96, 3) and float(one.min()) >= 0 and float(one.max()) <= 1
        assert torch.equal(one, backdrop(kind, 96, 64, 3)) and not torch.equal(one, backdrop(kind, 96, 64, 4))
    arm = arms(MODEL, skin, 64, 0)
    assert arm.shape == (64, 64, 3) and float(arm.std()) > 0


def test_nothing_is_found_in_pictures_of_nothing(skin):
    """Branches, bars, blobs, a face and an arm; a twig of 18 pixels was once taken for a hand."""
    count = Count()
    for number in range(5, len(KINDS) + 1):
        _, picture = empty_picture(number, MODEL, skin, 192)
        count.add([], ours("balanced")(picture))
    assert (count.pictures, count.hands, count.invented) == (5, 0, 0)


def test_two_drawn_hands_are_found(skin):
    drawn = crowd("two hands", 0, MODEL, skin, 384, 288)
    table = measure(lambda number: ("two", drawn.picture, known_of(drawn)), 1, ("balanced",))
    count = table.counts["all"]["ours, balanced"]
    assert (count.hands, count.found, count.doubles, count.invented) == (2, 2, 0, 0)
    assert "| two | ours, balanced | 1 | 2 | 2 |" in table.markdown("picture")


def test_the_two_passes_agree_as_well_as_each_with_itself():
    """Ours looks at upright hands, the package at turned ones: so they differ as much as two looks do."""
    agreement = measure_agreement(4)
    ours_, theirs = agreement.passes["torch"], agreement.passes["mediapipe"]
    assert ours_.found >= theirs.found >= 3
    middle = torch.tensor(agreement.apart).median()
    assert float(middle) < 3
    assert float(torch.tensor(theirs.moved).median()) > 0.2
    assert float(torch.tensor(ours_.joints).median()) < 10


def test_through_the_packages_crop_our_networks_give_its_landmarks_to_half_a_pixel(skin, monkeypatch):
    package = LandmarkDetector(thoroughness="fast", backend="mediapipe")
    pictures = draw_pictures(draw_scenes(11, torch.arange(14), MODEL), MODEL, skin).permute(0, 2, 3, 1).contiguous()
    theirs = {number: found[0].points for number, picture in enumerate(pictures) if (found := package(picture))}

    def pixels_off() -> list[float]:
        ours = {number: through_the_packages_crop(pictures[number], points) for number, points in theirs.items()}
        return [256 * float((p - theirs[k]).norm(dim=-1).mean()) for k, p in ours.items() if p is not None]

    assert len(theirs) >= 9
    assert float(torch.tensor(pixels_off()).median()) < 0.5
    monkeypatch.setattr("handrawer.evaluate.agreement.MEDIAPIPE_TURN", 0.0)
    assert float(torch.tensor(pixels_off()).median()) > 1.5, "it is the turn that parts them"


def test_across_the_edge_too_our_networks_give_the_packages_landmarks(skin, monkeypatch):
    """The package lets the picture's edge go on for the landmark network. Black there moves the joints by pixels."""
    package = LandmarkDetector(thoroughness="fast", backend="mediapipe")
    drawn = draw_pictures(draw_scenes(11, torch.arange(14), MODEL), MODEL, skin).permute(0, 2, 3, 1)
    cut = [picture[56:, 28:228].contiguous() for picture in drawn]
    theirs = {number: found[0].points for number, picture in enumerate(cut) if (found := package(picture))}

    def pixels_off() -> list[float]:
        ours = {number: through_the_packages_crop(cut[number], points) for number, points in theirs.items()}
        return [200 * float((p - theirs[k]).norm(dim=-1).mean()) for k, p in ours.items() if p is not None]

    assert len(theirs) >= 5
    as_it_is = float(torch.tensor(pixels_off()).median())
    crops = CroppedInBytes.crops
    monkeypatch.setattr(CroppedInBytes, "crops", lambda self, regions, size, outside="": crops(self, regions, size))
    in_black = float(torch.tensor(pixels_off()).median())
    assert as_it_is < 1.2 and in_black > 2 * as_it_is, (as_it_is, in_black)


def test_several_processes_give_what_one_gives():
    assert mapped(math.sqrt, [9, 1, 4], workers=2) == mapped(math.sqrt, [9, 1, 4]) == [3, 1, 2]
