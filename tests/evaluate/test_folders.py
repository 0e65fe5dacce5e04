import json
import math

import pytest
import torch

from handrawer.estimate.calibration import mediapipe_points_2d
from handrawer.estimate.landmarks import Landmarks
from handrawer.evaluate import blind, folder_report
from handrawer.evaluate.distances import Extractor, distance, features_of, make_extractor
from handrawer.evaluate.folders import Wanted, compare, look, measure, pictures_of
from handrawer.hand.fingers import count_extended
from handrawer.hand.hands import Frame, Hands, hand_from_gesture
from handrawer.render.pictures import save_picture

SIZE = 200


def frame_of(gesture="open", side="right", centre=(0.5, 0.5), size=0.5):
    return hand_from_gesture(gesture, side, SIZE, SIZE, centre=centre, size=size)


def seen(frame, shift=(0.0, 0.0)):
    """What a perfect detector would say of the hands of a frame, moved a little."""
    return [
        Landmarks(
            points=mediapipe_points_2d(hand, SIZE, SIZE) + torch.tensor(shift),
            world=hand.joints - hand.joints.mean(0),
            side=hand.side,
            score=0.99,
            presence=0.9,
        )
        for hand in frame.hands
    ]


def both(first, second):
    return Frame(SIZE, SIZE, first.hands + second.hands)


def test_a_hand_in_its_place_is_right_in_everything():
    wanted = frame_of("peace", "left")
    found, frame = look(torch.zeros(SIZE, SIZE, 3), lambda _: seen(wanted))
    (one,) = compare(wanted, found, frame)
    assert one.found and one.pck == 1 and one.pixels < 1e-3 and one.side_right
    assert one.millimetres < 8 and one.fingers == one.fingers_found == 2
    assert int(count_extended(frame.hands[0].joints)) == 2


def test_errors_have_their_units():
    wanted = frame_of()
    found, frame = look(torch.zeros(SIZE, SIZE, 3), lambda _: seen(wanted, (0.05, 0.0)))
    (one,) = compare(wanted, found, frame)
    assert one.pixels == pytest.approx(10, abs=0.01)
    low, high = wanted.hands[0].joints_2d.amin(0), wanted.hands[0].joints_2d.amax(0)
    assert 100 * 0.05 / float((high - low).max()) * 0.7 < one.percent < 100 * 0.05 / float((high - low).max())


def test_each_wanted_hand_gets_its_own():
    left, right = frame_of("open", centre=(0.25, 0.5), size=0.4), frame_of("fist", "left", (0.75, 0.5), 0.4)
    wanted = both(left, right)
    found, frame = look(torch.zeros(SIZE, SIZE, 3), lambda _: seen(both(right, left)))
    scores = compare(wanted, found, frame)
    assert [one.pck for one in scores] == [1, 1] and [one.side for one in scores] == ["right", "left"]
    found, frame = look(torch.zeros(SIZE, SIZE, 3), lambda _: seen(left))
    one, other = compare(wanted, found, frame)
    assert one.found and not other.found and other.pck == 0 and math.isinf(other.percent)


def test_nothing_found_and_another_shape_of_picture():
    wanted = frame_of()
    (one,) = compare(wanted, *look(torch.zeros(SIZE, SIZE, 3), lambda _: []))
    assert not one.found and one.fingers_found is None and one.fingers == 5
    with pytest.raises(ValueError, match=r"place them first"):
        compare(wanted, *look(torch.zeros(100, SIZE, 3), lambda _: []))


@pytest.fixture
def folder(tmp_path):
    """Three pictures: what was wanted, the same moved by 10 pixels, and nothing found; and a broken one."""
    for name, grey in (("a.png", 0.2), ("b.png", 0.5), ("in/c.png", 0.8)):
        save_picture(tmp_path / "pictures" / name, torch.full((SIZE, SIZE, 3), grey))
    (tmp_path / "pictures" / "d.jpg").write_bytes(b"no picture")
    (tmp_path / "hands.json").write_text(Hands((frame_of("four"),)).to_json())
    return tmp_path


def detector(picture):
    shift = {51: (0.0, 0.0), 128: (0.05, 0.0)}.get(round(255 * float(picture.mean())))
    return [] if shift is None else seen(frame_of("four"), shift)


def test_a_folder_becomes_rows_numbers_and_a_page(folder, caplog):
    gallery = folder_report.Gallery()
    rows = []
    for row, picture in measure(folder / "pictures", Wanted(folder / "hands.json"), detector=detector):
        rows.append(row)
        gallery.add(row, picture)
    assert [row.name for row in rows] == ["a.png", "b.png", "in/c.png"] and "d.jpg is left out" in caplog.text
    result = folder_report.summary(rows, {})
    assert result["pictures"] == 3 and result["measures"]["hand_found"]["mean"] == pytest.approx(2 / 3, abs=1e-4)
    wanted = result["wanted"]["measures"]
    assert wanted["found"]["mean"] == pytest.approx(2 / 3, abs=1e-4) and wanted["side"]["count"] == 2
    assert wanted["pixels"]["mean"] == pytest.approx(5, abs=0.05) and result["fingers"] == {4: 2}
    curve = result["wanted"]["pck_curve"]["share"]
    assert curve == sorted(curve) and curve[1] == pytest.approx(1 / 3, abs=1e-3) and curve[-1] <= 2 / 3 + 1e-3
    json.dumps([row.to_dict() for row in rows] + [result], allow_nan=False)
    words = folder_report.markdown(result, "somewhere")
    assert "| wanted hand found | 66.7 %" in words and "PCK by radius" in words
    page = folder_report.page(result, rows, gallery, "<somewhere>")
    assert "&lt;somewhere&gt;" in page and page.index("a.png") < page.index("in/c.png") and "<svg" in page


def test_wanted_hands_are_found_by_name_or_place(folder):
    names = folder / "named"
    names.mkdir()
    (names / "b.json").write_text(Hands((frame_of("open"),)).to_json())
    (names / "c.hands.json").write_text(Hands((frame_of("fist"),)).to_json())
    rows = {row.name: row for row, _ in measure(folder / "pictures", Wanted(names), detector=detector)}
    assert (
        rows["a.png"].wanted is None
        and len(rows["b.png"].wanted or ()) == 1
        and len(rows["in/c.png"].wanted or ()) == 1
    )
    (folder / "two.json").write_text(Hands((frame_of(), frame_of())).to_json())
    with pytest.raises(ValueError, match="hands of 2 pictures, the folder has 4"):
        list(measure(folder / "pictures", Wanted(folder / "two.json"), detector=detector))
    for wrong in (folder / "gone", folder / "pictures"):
        with pytest.raises(FileNotFoundError, match="hands"):
            Wanted(wrong)


def test_no_pictures_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="There are no pictures"):
        pictures_of(tmp_path)


# --- distances


def test_distances_by_torchmetrics_are_those_of_gaussians():
    """FID between Gaussians is |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), here of equal covariance."""
    pytest.importorskip("torchmetrics")
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(400, 6, generator=generator)
    named = Extractor("test", "six numbers", 6, lambda pictures: pictures)
    same, moved = distance(points, points, named), distance(points + 2, points, named)
    assert same is not None and moved is not None
    assert same.fid == pytest.approx(0, abs=1e-3) and abs(same.kid) < 0.1  # unbiased, so a little below 0
    assert moved.fid == pytest.approx(6 * 2**2, rel=1e-3) and moved.kid > 1
    assert moved.extractor == "six numbers" and not moved.note
    assert distance(points + 2, points, named) == moved, "the same at every run"
    assert distance(points[:3], points, named) is None
    few = distance(points[:5], points[5:10], named)
    assert few is not None and "biased" in few.note


def test_the_extractor_that_ships_says_what_it_is(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    found = make_extractor("auto")
    assert found.name == "landmarks" and "not comparable" in found.words
    features = features_of([torch.rand(50, 70, 3), torch.rand(300, 20, 3)], found)
    assert features.shape == (2, found.size) and bool(torch.isfinite(features).all())
    for name, words in (("inception", "are not fetched"), ("clip", "--clip FOLDER"), ("vgg", "choose one of")):
        with pytest.raises(ValueError, match=words):
            make_extractor(name)


# --- people


@pytest.mark.parametrize(
    ("wins", "count", "low", "high"), [(50, 100, 0.4038, 0.5962), (0, 10, 0.0, 0.2775), (9, 10, 0.5958, 0.9821)]
)
def test_wilson_intervals(wins, count, low, high):
    assert folder_report.wilson(wins, count) == pytest.approx((low, high), abs=2e-4)


@pytest.fixture
def two_folders(tmp_path):
    for place, name in enumerate(["one", "two", "three", "four"]):
        save_picture(tmp_path / "mine" / f"{name}.png", torch.full((20, 30, 3), 0.1 + place / 10))
        save_picture(tmp_path / "theirs" / f"{name}.jpg", torch.full((20, 30, 3), 0.6 + place / 10))
    save_picture(tmp_path / "mine" / "alone.png", torch.zeros(9, 9, 3))
    return tmp_path


def test_a_blind_page_tells_nothing_and_its_answers_count(two_folders, tmp_path):
    page = tmp_path / "out" / "page.html"
    key_file, count = blind.write_page(two_folders / "mine", two_folders / "theirs", page, seed=5)
    text, key = page.read_text(), json.loads(key_file.read_text())
    assert count == 4 == len(key["pairs"])
    for word in ("mine", "theirs", "one", "three.", str(tmp_path)):
        assert f"{word}.png" not in text and f"/{word}" not in text
    assert sorted(pair["left"] for pair in key["pairs"].values()) == ["a", "a", "b", "b"], (
        "each lies left half the time"
    )
    answers = {}
    for place, (name, pair) in enumerate(key["pairs"].items()):
        mine = "left" if pair["left"] == "a" else "right"
        answers[name] = "equal" if place == 3 else mine
    told = {"format": "handrawer-blind-answers", "page": key["page"], "rater": "r1", "answers": answers}
    (tmp_path / "r1.json").write_text(json.dumps(told))
    (tmp_path / "r2.json").write_text(json.dumps(told | {"rater": "r2"}))
    found = blind.count_answers([tmp_path / "r1.json", tmp_path / "r2.json"], key_file)
    assert (found.wins_a, found.wins_b, found.equal, found.raters) == (6, 0, 2, 2)
    assert found.share == 1 and found.interval[0] == pytest.approx(0.6097, abs=1e-3)
    assert "mine is preferred" in found.words() and "Wilson" in found.words()


def test_wrong_answers_are_refused(two_folders, tmp_path):
    key_file, _ = blind.write_page(two_folders / "mine", two_folders / "theirs", tmp_path / "page.html")
    page = json.loads(key_file.read_text())["page"]
    for told, words in (
        ({"format": "other"}, "no file of answers"),
        ({"format": "handrawer-blind-answers", "page": "another"}, "another page"),
        ({"format": "handrawer-blind-answers", "page": page, "answers": {"x": "left"}}, "is no pair"),
    ):
        (tmp_path / "a.json").write_text(json.dumps(told))
        with pytest.raises(ValueError, match=words):
            blind.count_answers([tmp_path / "a.json"], key_file)
    with pytest.raises(ValueError, match="no pictures of the same name"):
        blind.pairs_of(two_folders / "mine", two_folders / "theirs" / "..")
