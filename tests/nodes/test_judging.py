"""Pictures judged and picked on the host's canvas; hands cut out and stitched back; files that tell their origin."""

import importlib
import json

import pytest
import torch

CROP = {"size": 128, "margin": 0.4, "numbers": "", "mask_shape": "hull", "mask_padding": 0.15, "mask_feather": 0.08}


@pytest.fixture(scope="module")
def example(nodes):
    picture = nodes("hands").HanDrawerExamplePicture.execute("hands.png").args[0]
    return picture.float()


@pytest.fixture
def run(nodes):
    def run(module: str, node: str, /, **inputs):
        kind = getattr(nodes(module), node)
        hidden = type("Hidden", (), {"unique_id": "1", "prompt": {"1": {}}, "extra_pnginfo": {"workflow": {"id": "x"}}})
        with torch.inference_mode():
            return type(node, (kind,), {"hidden": hidden}).execute(**inputs).result

    return run


SCORE = {"good_from": 0.5, "max_hands": 4, "thoroughness": "fast"}
PICK = {"keep": "the best ones", "count": 1, "bar": 0.5, "if_none": "the best one", "thoroughness": "fast"}


def test_score_finds_judges_and_shows(run, example):
    hands, score, bad, mask, overlay, sentence, scores = run("judging", "HanDrawerScoreHands", image=example, **SCORE)
    assert len(hands.frames) == 1 and len(hands.frames[0].hands) >= 1
    qualities = [hand.confidence for hand in hands.frames[0].hands]
    assert score == pytest.approx(min(qualities)) and scores == f"{score:.3f}"
    assert bad == any(quality < 0.5 for quality in qualities) and bool((mask > 0.5).any()) == bad
    assert overlay.shape == example.shape and not torch.equal(overlay, example)
    assert sentence.count("Hand ") == len(qualities)
    for bar, all_bad in ((1.0, True), (0.0, False)):
        again = run("judging", "HanDrawerScoreHands", image=example, **{**SCORE, "good_from": bar})
        assert again[2] == all_bad and bool((again[3] > 0.5).any()) == all_bad


def test_wanted_hands_are_matched_and_missing_ones_said(run, example, nodes):
    found = nodes("estimate").HanDrawerEstimateHands.execute(example, 4, 0.5).result[0]
    *_, sentence, _ = run("judging", "HanDrawerScoreHands", image=example, wanted=found, **SCORE)
    assert "of the wanted joints in place" in sentence
    black = torch.zeros(1, 128, 192, 3)
    hands, score, bad, mask, _, sentence, _ = run("judging", "HanDrawerScoreHands", image=black, **SCORE)
    assert (score, bad, hands.count) == (0.0, False, 0) and not mask.any() and "No hand was found." in sentence


def test_the_best_of_a_batch_with_its_latent(run, example):
    grey = torch.full_like(example, 0.5)
    batch, latent = torch.cat([grey, example, grey]), {"samples": torch.arange(3.0).reshape(3, 1, 1, 1)}
    image, picked, hands, numbers, score, note = run("judging", "HanDrawerPickBest", image=batch, latent=latent, **PICK)
    assert torch.equal(image, example) and numbers == "1" and score > 0 and "1 of 3" in note
    assert picked["samples"].flatten().tolist() == [1.0] and picked["batch_index"] == [1] and hands.count >= 1
    two = run("judging", "HanDrawerPickBest", image=batch, latent=latent, **{**PICK, "count": 2})
    assert two[3] == "1, 0" and two[1]["samples"].flatten().tolist() == [1.0, 0.0]
    with pytest.raises(ValueError, match=r"^latent: there are 3 latents, but 1 pictures"):
        run("judging", "HanDrawerPickBest", image=example, latent=latent, **PICK)


def test_all_above_a_bar_or_nothing(run, example):
    from comfy_execution.graph_utils import ExecutionBlocker

    grey = torch.full_like(example, 0.5)
    above = {**PICK, "keep": "all above the bar", "bar": 0.01}
    image, _, _, numbers, _, _ = run("judging", "HanDrawerPickBest", image=torch.cat([grey, example]), **above)
    assert numbers == "1" and len(image) == 1
    nothing = run("judging", "HanDrawerPickBest", image=grey, **{**above, "if_none": "nothing"})
    assert all(isinstance(output, ExecutionBlocker) for output in nothing)
    kept = run("judging", "HanDrawerPickBest", image=grey, **above)
    assert kept[3] == "0" and "No picture is above" in kept[5]


@pytest.fixture(scope="module")
def two_hands(plugin):
    core = importlib.import_module(f"{plugin.__name__}.handrawer.hand.hands")
    frames = [core.hand_from_gesture("peace", "left", 300, 200, centre=(x, 0.5), size=0.5) for x in (0.25, 0.75)]
    return core.Hands((core.Frame(300, 200, frames[0].hands + frames[1].hands),))


@pytest.mark.parametrize("match_colours", [True, False])
def test_nothing_outside_the_crops_masks_changes_bit_for_bit(run, two_hands, match_colours):
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(2, 200, 300, 3, generator=generator)
    cut, mask, hands, stitch, count, note = run("repair", "HanDrawerCropHands", hands=two_hands, image=image, **CROP)
    assert cut.shape == (4, 128, 128, 3) and mask.shape == (4, 128, 128) and (count, note) == (4, "")
    assert [len(frame.hands) for frame in hands.frames] == [2] * 4
    larger = torch.rand(4, 192, 192, 3, generator=generator)
    whole, changed = run("repair", "HanDrawerStitchHands", stitch=stitch, crops=larger, match_colours=match_colours,
                         feather=0.04)  # fmt: skip
    outside = changed == 0
    assert 0.05 < float((~outside).float().mean()) < 0.6
    assert torch.equal(whole[outside], image[outside])
    inside = changed > 0.9
    assert bool(inside.any()) and float((whole[inside] - image[inside]).abs().mean()) > 0.1
    for piece in stitch.pieces:  # and nothing outside the crop itself
        x, y = (-piece.move.offset_x / piece.move.scale, -piece.move.offset_y / piece.move.scale)
        side = 128 / piece.move.scale
        assert x >= 0 and x + side <= 300 and y >= 0 and y + side <= 200


def test_an_unchanged_crop_comes_back_and_colours_are_matched(run, two_hands):
    ramp = torch.linspace(0.2, 0.8, 300)[None, None, :, None].expand(1, 200, 300, 3).contiguous()
    cut, _, _, stitch, _, _ = run("repair", "HanDrawerCropHands", hands=two_hands, image=ramp, **CROP)
    same, _ = run("repair", "HanDrawerStitchHands", stitch=stitch, crops=cut, match_colours=False, feather=0.0)
    assert torch.allclose(same, ramp, atol=4e-3)
    tinted = (cut * 0.8 + 0.1).clamp(0, 1)
    matched, _ = run("repair", "HanDrawerStitchHands", stitch=stitch, crops=tinted, match_colours=True, feather=0.0)
    assert torch.allclose(matched, ramp, atol=2e-2)


def test_numbers_and_masks_choose_and_none_changes_nothing(run, two_hands):
    image = torch.rand(1, 200, 300, 3)
    assert run("repair", "HanDrawerCropHands", hands=two_hands, image=image, **{**CROP, "numbers": "1"})[4] == 1
    left = torch.zeros(1, 100, 150)
    left[:, :, :75] = 1
    chosen = run("repair", "HanDrawerCropHands", hands=two_hands, image=image, mask=left, **CROP)
    assert chosen[4] == 1 and float(chosen[2].frames[0].hands[0].translation[0]) < 0
    cut, mask, _, stitch, count, note = run(
        "repair", "HanDrawerCropHands", hands=two_hands, image=image, mask=torch.zeros(1, 64, 64), **CROP
    )
    assert count == 0 and len(cut) == 1 and not mask.any() and "nothing will change" in note
    whole, changed = run(
        "repair",
        "HanDrawerStitchHands",
        stitch=stitch,
        crops=torch.rand(1, 128, 128, 3),
        match_colours=True,
        feather=0.0,
    )
    assert torch.equal(whole, image) and not changed.any()


def test_segments_for_the_impact_pack(run, two_hands):
    (size, segments), note = run(
        "repair", "HanDrawerSegsFromHands", hands=two_hands, crop_factor=2.0, mask_shape="hull", mask_padding=0.1
    )
    assert size == (200, 300) and len(segments) == 2 and note == ""
    for segment in segments:
        x0, y0, x1, y1 = segment.crop_region
        assert segment.cropped_mask.shape == (y1 - y0, x1 - x0) and segment.cropped_mask.max() == 1
        assert x0 <= segment.bbox[0] < segment.bbox[2] <= x1 and segment.label == "left hand"


ORIGINS = {
    "made by a model": "trainedAlgorithmicMedia",
    "photo with parts made by a model": "compositeWithTrainedAlgorithmicMedia",
    "no mark": None,
}


@pytest.mark.parametrize(("origin", "code"), ORIGINS.items())
def test_saved_pictures_tell_their_origin_and_workflow(run, plugin, tmp_path, monkeypatch, origin, code):
    import folder_paths
    from PIL import Image

    provenance = importlib.import_module(f"{plugin.__name__}.handrawer.provenance")
    monkeypatch.setattr(folder_paths, "get_output_directory", lambda: str(tmp_path))
    image = torch.rand(2, 16, 24, 3)
    (same,) = run("saving", "HanDrawerSaveImage", images=image, filename_prefix="a/b", origin=origin)
    files = sorted((tmp_path / "a").glob("*.png"))
    assert torch.equal(same, image) and [file.name for file in files] == ["b_00001_.png", "b_00002_.png"]
    for file in files:
        found = provenance.read_source(file)
        assert found == (None if code is None else provenance.VOCABULARY + code)
        with Image.open(file) as saved:
            assert json.loads(saved.text["workflow"]) == {"id": "x"} and saved.size == (24, 16)
    run("saving", "HanDrawerSaveImage", images=image, filename_prefix="a/b", origin=origin)
    assert len(list((tmp_path / "a").glob("*.png"))) == 4, "nothing is overwritten"
