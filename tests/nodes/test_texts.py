"""Every row of every UNet call gets the features of its own text: by hand-computed residuals, and by counters.

A call's context holds the text of each row, so the library can say what belongs to it: the residuals of the hand under
that text, cut like the row's part of the picture. Nothing of how the host came by the row is used.
"""

import pytest
import torch

from tests.nodes.canvas import Call, Canvas, one_hand, relative

HEIGHT, WIDTH = 17, 26


def check_rows(canvas: Canvas, calls: list[Call], *, null: tuple[int, ...] = (), part=None) -> None:
    """Every row of every call has what its own text gives, at every site.

    Args:
        null: seeds of texts that did not pass the apply node: their rows have what no text gives.
        part: (top, left) of the rows' part of the picture, in latent cells; None for the whole.
    """
    unmarked = [canvas.text(seed)[0][0][0] for seed in null]
    known: dict[bytes, dict] = {}
    assert calls
    for call in calls:
        for row, text in enumerate(call.context):
            passed_by = any(text.shape == other.shape and torch.equal(text, other) for other in unmarked)
            name = b"" if passed_by else text.numpy().tobytes()
            if name not in known:
                known[name] = canvas.residuals([one_hand()], HEIGHT, WIDTH, None if passed_by else text)
            for block, level in canvas.network.levels.items():
                expected, found = known[name][block], call.added[block][row]
                if part is not None:
                    top, left = (start // 2**level for start in part)
                    expected = expected[:, top : top + found.shape[1], left : left + found.shape[2]]
                assert expected.any() and relative(found, expected) < 1e-4, (block, row, call.order)


@pytest.fixture(scope="module")
def model(canvas: Canvas):
    return canvas.patched(canvas.features(one_hand()))


@pytest.fixture
def pair(canvas: Canvas):
    return canvas.tagged(canvas.text(1)), canvas.tagged(canvas.text(2), "negative")


@pytest.fixture
def fusions(nodes):
    """How many maps have been made since the test began."""
    import importlib

    package = nodes("network").__package__.removesuffix(".nodes")
    counters = importlib.import_module(f"{package}.handrawer.counters").counters
    before = counters.as_dict().get("fusion", 0)
    return lambda: counters.as_dict().get("fusion", 0) - before


@pytest.mark.parametrize(("cfg", "rows", "texts"), [(1.0, 1, 1), (7.0, 2, 2)])
def test_guidance(canvas: Canvas, pair, fusions, cfg, rows, texts):
    model = canvas.patched(canvas.features(one_hand()))
    _, calls = canvas.sample(model, *pair, cfg=cfg, steps=2)
    assert fusions() == texts and [len(call.order) for call in calls] == [rows] * len(calls)
    check_rows(canvas, calls)
    made = fusions()
    canvas.sample(model, *pair, cfg=cfg, steps=2, seed=3)
    assert fusions() == made, "another seed makes nothing again"


def test_prompts_of_several_times_77_tokens(canvas: Canvas, model):
    """Two chunks for the prompt, one for the negative: the host repeats the shorter one or calls twice."""
    long = canvas.tagged(canvas.text(3, tokens=154))
    _, calls = canvas.sample(model, long, canvas.tagged(canvas.text(2), "negative"), cfg=7.0)
    check_rows(canvas, calls)
    odd = canvas.tagged(canvas.text(3, tokens=231))
    _, calls = canvas.sample(model, odd, canvas.tagged(canvas.text(4, tokens=154), "negative"), cfg=7.0)
    check_rows(canvas, calls)


def test_combined_concatenated_averaged_and_zeroed_prompts(canvas: Canvas, model, pair, host_nodes):
    """The host's own nodes, behind the apply node and in front of it."""
    positive, negative = pair
    second = canvas.tagged(canvas.text(3))
    (combined,) = host_nodes.ConditioningCombine().combine(positive, second)
    _, calls = canvas.sample(model, combined, negative, cfg=7.0)
    assert sorted(order for call in calls for order in call.order) == [0, 0, 1]
    check_rows(canvas, calls)
    (joined,) = host_nodes.ConditioningConcat().concat(positive, second)
    (mixed,) = host_nodes.ConditioningAverage().addWeighted(positive, second, 0.3)
    (nothing,) = host_nodes.ConditioningZeroOut().zero_out(negative)
    for prompt in (joined, mixed):
        _, calls = canvas.sample(model, prompt, nothing, cfg=7.0)
        assert any(not text.any() for call in calls for text in call.context), "the zeroed prompt has been drawn"
        check_rows(canvas, calls)


def test_an_unmarked_prompt_gets_the_null_text(canvas: Canvas, model, pair):
    _, calls = canvas.sample(model, pair[0], canvas.text(2), cfg=7.0)
    check_rows(canvas, calls, null=(2,))


def test_scheduled_prompts(canvas: Canvas, model, pair, host_nodes):
    """One text for the first half of the steps, another for the rest."""
    early = host_nodes.ConditioningSetTimestepRange().set_range(pair[0], 0.0, 0.5)[0]
    late = host_nodes.ConditioningSetTimestepRange().set_range(canvas.tagged(canvas.text(3)), 0.5, 1.0)[0]
    _, calls = canvas.sample(model, early + late, pair[1], cfg=1.0, steps=4)
    texts = {text.numpy().tobytes() for call in calls for text in call.context}
    assert len(texts) == 2
    check_rows(canvas, calls)


def test_regional_prompts_and_areas(canvas: Canvas, model, pair, host_nodes):
    """A prompt for a masked part of the picture, and one for an area, which the UNet sees alone."""
    positive, negative = pair
    mask = torch.zeros(1, HEIGHT, WIDTH)
    mask[..., 8:] = 1
    (region,) = host_nodes.ConditioningSetMask().append(canvas.tagged(canvas.text(3)), mask, "default", 1.0)
    _, calls = canvas.sample(model, positive + region, negative, cfg=7.0)
    check_rows(canvas, calls)
    # an area of 8 x 16 cells from row 8, column 8: a whole number of cells on every level
    (area,) = host_nodes.ConditioningSetArea().append(positive, 128, 64, 64, 64, 1.0)
    _, calls = canvas.sample(model, area, area, cfg=1.0)
    assert {tuple(call.x.shape[-2:]) for call in calls} == {(8, 16)}
    check_rows(canvas, calls, part=(8, 8))
    # and a masked one whose bounds become an area
    mask = torch.zeros(1, HEIGHT, WIDTH)
    mask[:, 8:16, 8:24] = 1
    (bounded,) = host_nodes.ConditioningSetMask().append(positive, mask, "mask bounds", 1.0)
    _, calls = canvas.sample(model, bounded, bounded, cfg=1.0)
    assert {tuple(call.x.shape[-2:]) for call in calls} == {(8, 16)}, "the host has cut the picture"
    check_rows(canvas, calls, part=(8, 8))


def test_texts_of_a_batch(canvas: Canvas, model):
    """A text of its own for each picture, as prompt schedules for video give them."""
    texts = canvas.tagged(canvas.text(5, rows=3))
    _, (call,) = canvas.sample(model, texts, batch=3)
    assert not torch.equal(call.context[0], call.context[1])
    check_rows(canvas, [call])


def test_low_memory_splits_rows_into_calls(canvas: Canvas, model, pair, monkeypatch):
    monkeypatch.setattr(type(model.model), "memory_required", lambda *_args, **_kwargs: 1e30)
    second = canvas.tagged(canvas.text(3))
    _, calls = canvas.sample(model, pair[0] + second, pair[1], cfg=7.0)
    assert [len(call.order) for call in calls] == [1, 1, 1]
    check_rows(canvas, calls)


def test_a_guider_of_three_prompts(canvas: Canvas, model, pair):
    """Its numbers mean something else than the usual sampler's: 0 is the negative."""
    import comfy.sample
    import comfy.samplers
    from comfy.patcher_extension import WrappersMP
    from comfy_extras.nodes_custom_sampler import Guider_DualCFG

    from tests.nodes.canvas import probe

    calls: list[Call] = []
    probed = model.clone()
    probed.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "probe", probe(calls))
    guider = Guider_DualCFG(probed)
    guider.set_conds(pair[0], canvas.tagged(canvas.text(3)), pair[1])
    guider.set_cfg(4.0, 2.0)
    latent = torch.zeros(1, 4, HEIGHT, WIDTH)
    sigmas = torch.tensor([5.0, 2.0])
    with torch.inference_mode():
        noise = comfy.sample.prepare_noise(latent, 0)
        guider.sample(noise, latent, comfy.samplers.sampler_object("euler"), sigmas, disable_pbar=True, seed=0)
    assert sorted(order for call in calls for order in call.order) == [0, 1, 2]
    check_rows(canvas, calls)
