import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from handrawer.cli import main
from handrawer.cli.demo import FILL, SIDE, Arm, choose_hand, frame_one_hand, score_table, shipped_picture
from handrawer.cli.errors import Refusal
from handrawer.cli.files import read_picture
from handrawer.evaluate.score import Score
from handrawer.hand.hands import Frame, hand_from_gesture
from handrawer.hand.model import load_open_hand
from handrawer.mini.pipeline import WEIGHTS
from handrawer.mini.scene import hand_vertices

WIDTH, HEIGHT = 848, 565


@pytest.fixture(scope="module")
def frame():
    """A 3:2 picture with a small left hand and a larger right one that reaches over the picture's right edge."""
    small = hand_from_gesture("open", "left", WIDTH, HEIGHT, centre=(0.2, 0.5), size=0.3).hands
    large = hand_from_gesture("peace", "right", WIDTH, HEIGHT, centre=(0.92, 0.6), size=0.7, orientation=(10, 5, 20))
    return Frame(WIDTH, HEIGHT, small + large.hands)


def test_the_largest_hand_is_taken_unless_told(frame):
    assert choose_hand(frame, None, Path("a.png")) == 1
    assert choose_hand(replace(frame, hands=frame.hands[::-1]), None, Path("a.png")) == 0
    assert choose_hand(frame, 0, Path("a.png")) == 0
    assert choose_hand(Frame(WIDTH, HEIGHT), None, Path("a.png")) is None
    assert choose_hand(Frame(WIDTH, HEIGHT), 3, Path("a.png")) is None


def test_a_hand_that_is_not_there_is_refused(frame):
    with pytest.raises(Refusal, match=r"no hand 2 in a\.png: 2 hands were found, numbers 0 to 1"):
        choose_hand(frame, 2, Path("a.png"))
    with pytest.raises(Refusal, match="one hand was found, number 0"):
        choose_hand(replace(frame, hands=frame.hands[:1]), 1, Path("a.png"))


@pytest.mark.parametrize("number", [0, 1])
def test_the_hand_fills_its_share_of_the_small_models_frame(frame, number):
    wanted, crop = frame_one_hand(frame.hands[number], frame, torch.zeros(1, HEIGHT, WIDTH, 3))
    (placed,) = wanted.frames
    (hand,) = placed.hands
    assert (placed.width, placed.height) == (SIDE, SIDE) and crop.shape == (SIDE, SIDE, 3)
    # Seen by the placed camera, without the forearm: in the middle, its longer side FILL of the frame.
    points = hand.vertices[hand_vertices(load_open_hand())]
    xy = hand.camera.focal * points[:, :2] / points[:, 2:] + torch.tensor([hand.camera.cx, hand.camera.cy])
    low, high = xy.amin(0), xy.amax(0)
    assert float((high - low).max()) == pytest.approx(FILL, abs=2e-3)
    torch.testing.assert_close((low + high) / 2, torch.tensor([0.5, 0.5]), atol=2e-3, rtol=0)


def test_the_crop_shows_the_hand_where_the_placed_hand_is(frame):
    """A white disc painted on each fingertip must lie on the placed fingertip."""
    hand = frame.hands[1]
    y, x = torch.meshgrid(torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5, indexing="ij")
    inside_picture = ((hand.joints_2d > 0.02) & (hand.joints_2d < 0.98)).all(-1)
    tips = [tip for tip in (4, 8, 12, 16, 20) if inside_picture[tip]]
    assert len(tips) >= 3
    for tip in tips:
        at = hand.joints_2d[tip] * torch.tensor([WIDTH, HEIGHT])
        picture = ((x - at[0]) ** 2 + (y - at[1]) ** 2 <= 16).float()[None, ..., None].expand(1, -1, -1, 3)
        wanted, crop = frame_one_hand(hand, frame, picture)
        expected = wanted.frames[0].hands[0].joints_2d[tip] * SIDE
        inside = crop[..., 0] * (crop[..., 0] > 0.75)  # the grey beyond the picture's edge is no disc
        rows, columns = torch.meshgrid(torch.arange(SIDE) + 0.5, torch.arange(SIDE) + 0.5, indexing="ij")
        centre = torch.stack([(columns * inside).sum(), (rows * inside).sum()]) / inside.sum()
        torch.testing.assert_close(centre, expected, atol=0.6, rtol=0)


def score(errors):
    """A score of a hand whose 21 joints have these errors; none: no hand was found."""
    if errors is None:
        return Score(False, 0.0, torch.full((21,), torch.inf), False)
    return Score(True, 0.9, torch.tensor(errors), True)


def test_the_table_counts_misses_and_averages_what_was_found():
    without = Arm("without HanDrawer", torch.zeros(2, 1, 1, 3), [score(None), score(None)])
    steered = Arm("with HanDrawer", torch.zeros(2, 1, 1, 3), [score([0.02] * 21), score([0.05] * 14 + [0.2] * 7)])
    lines = score_table([without, steered], [7, 8]).splitlines()
    assert lines[2].split() == ["7", "no", "-", "0", "%", "yes", "0.020", "100", "%"]
    assert lines[3].split() == ["8", "no", "-", "0", "%", "yes", "0.100", "67", "%"]
    assert lines[4].split() == ["all", "0/2", "-", "0", "%", "2/2", "0.060", "83", "%"]


def test_the_shipped_picture_is_not_square_and_can_be_read():
    picture = read_picture(shipped_picture())
    assert picture.shape == (1, 512, 768, 3)


@pytest.fixture(scope="module")
def untrained_mini():
    """The small model as it is before training: its networks and the whole path, without its looks."""
    from diffusers import DDIMScheduler

    from handrawer.adapter.handrawer import HanDrawer
    from handrawer.adapter.unet import describe_diffusers
    from handrawer.mini import modules, pipeline

    torch.manual_seed(0)
    unet, vae, text = modules.make_unet(), modules.make_vae(), modules.make_text_encoder()
    adapter = HanDrawer.create(describe_diffusers(unet, "v_prediction"), load_open_hand())
    with torch.no_grad():  # zero-initialised projections would make both rows of the sheet the same
        for parameter in adapter.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    scheduler = DDIMScheduler(**modules.SCHEDULER_CONFIG)
    return pipeline.MiniPipeline(
        unet.eval(), vae.eval(), text.eval(), modules.make_tokenizer(), scheduler, adapter.eval()
    )


def test_the_whole_demo(tmp_path, capsys, monkeypatch, untrained_mini):
    monkeypatch.setattr("handrawer.mini.pipeline.load_mini", lambda: untrained_mini)
    out = tmp_path / "out"
    assert main(["demo", "--out", str(out), "--steps", "1", "--seed", "5", "--prompt", "a right hand"]) == 0
    assert {path.name for path in out.iterdir()} == {"overlay.png", "depth.png", "mask.png", "hands.json", "sheet.png"}
    text = capsys.readouterr().out
    assert "Hand 0 is taken (the largest)" in text and 'Prompt: "a right hand"' in text
    assert [line.split()[0] for line in text.splitlines() if line[:1] in "5678"] == ["5", "6", "7", "8"]
    assert read_picture(out / "sheet.png").shape[2] > 4 * SIDE


def test_the_demo_without_a_hand(tmp_path, capsys):
    Image.new("RGB", (90, 60), (80, 120, 80)).save(tmp_path / "empty.png")
    assert main(["demo", "--image", str(tmp_path / "empty.png"), "--out", str(tmp_path / "out")]) == 0
    assert not read_picture(tmp_path / "out" / "depth.png").any()
    assert not (tmp_path / "out" / "sheet.png").exists()
    assert "No hand was found" in capsys.readouterr().out


def test_missing_weights_are_a_refusal(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("handrawer.mini.pipeline.load_mini.__defaults__", (tmp_path, "cpu"))
    assert main(["demo", "--out", str(tmp_path / "out")]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("handrawer demo: ") and "weights are missing or damaged" in last
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name",
    [
        "handrawer.safetensors",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "tokenizer/tokenizer.json",
        "scheduler/scheduler_config.json",
    ],
)
def test_damaged_weights_are_a_refusal(tmp_path, capsys, monkeypatch, name):
    folder = tmp_path / "weights"
    shutil.copytree(WEIGHTS, folder)
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: len(whole) // 2])
    monkeypatch.setattr("handrawer.mini.pipeline.load_mini.__defaults__", (folder, "cpu"))
    assert main(["demo", "--out", str(tmp_path / "out")]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("handrawer demo: ") and "damaged" in last
    assert not (tmp_path / "out").exists()


def test_the_shipped_model_follows_the_shipped_picture(tmp_path, capsys):
    """What a stranger sees first: the hand is drawn as given, and without HanDrawer it is not."""
    assert main(["demo", "--out", str(tmp_path / "out"), "--steps", "4"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (row,) = [line.split() for line in lines if line.startswith("all ")]
    _, _, _, right_without, _, found_with, error_with, right_with, _ = row
    assert int(found_with.split("/")[0]) >= 3 and float(error_with) < 0.1
    assert int(right_with) >= 70 and int(right_without) <= 30
