"""Which pictures and which part of them: context windows, batches that are cut and put together again."""

from types import SimpleNamespace

import pytest
import torch

from handrawer.hand.hands import Frame, Hands
from tests.nodes.canvas import Canvas, one_hand, other_hand, relative


@pytest.fixture(scope="module")
def places(nodes):
    return nodes("places")


def test_windows_over_pictures_rows_and_columns(places):
    x, whole = torch.zeros(2, 4, 6, 8), torch.Size((5, 4, 16, 20))

    def read(whole: torch.Size | None = whole, **window):
        return places.extent(x, {"context_window": SimpleNamespace(**window)} if window else {}, whole)

    plain = read()
    assert (plain.pictures, plain.height, plain.width) == ((0, 1), 6, 8), "a sampler may work at another size"
    assert read(index_list=[3, 1], dim=0).pictures == (3, 1)
    assert read(index_list=[3, 1]).pictures == (3, 1), "hosts before there was a choice"
    rows = read(index_list=[4, 5, 6, 7, 8, 9], dim=2)
    assert (rows.rows[0], rows.height, rows.width) == (4, 16, 8)
    columns = read(index_list=list(range(12, 20)), dim=3)
    assert (columns.columns[0], columns.height, columns.width) == (12, 6, 20)
    assert read(whole=None, index_list=list(range(12, 20)), dim=3).width == 20
    place = columns.places(x.device)
    assert place.shape == (2, 3, 6, 8) and place.dtype == torch.int32
    assert place[1, :, 2, 3].tolist() == [15, 2, 1]
    for looped in ([0, 2, 4, 6, 8, 10], [18, 19, 0, 1, 2, 3]):
        with pytest.raises(ValueError, match=r"^model: a context window .*side by side.*context_stride to 1"):
            read(index_list=looped, dim=2)
    assert read(index_list=[0, 1, 2], dim=1).rows[0] == 0, "channels are no places"


def test_animatediff_says_which_pictures_it_shows(places):
    x = torch.zeros(2, 4, 6, 8)
    assert places.extent(x, {"ad_params": {"sub_idxs": [6, 7], "full_length": 9}}, None).pictures == (6, 7)
    assert places.extent(x, {"ad_params": {"sub_idxs": None, "full_length": 9}}, None).pictures == (0, 1)


def windowed(model, dim: int, length: int, overlap: int = 0):
    windows = pytest.importorskip("comfy.context_windows")
    if not hasattr(windows, "ContextFuseMethods"):
        pytest.skip("this host has no context windows")
    model = model.clone()
    model.model_options["context_handler"] = windows.IndexListContextHandler(
        context_schedule=windows.get_matching_context_schedule(windows.ContextSchedules.STATIC_STANDARD),
        fuse_method=windows.get_matching_fuse_method(windows.ContextFuseMethods.FLAT),
        context_length=length, context_overlap=overlap, context_stride=1, closed_loop=False, dim=dim,
    )  # fmt: skip
    return model


def test_windows_over_the_width_show_their_part_of_the_hand(sd15: Canvas):
    """The host's context windows can also cut a wide picture; what they show overlaps."""
    text = sd15.tagged(sd15.text(1))
    try:
        _, calls = sd15.sample(windowed(sd15.patched(sd15.features(one_hand())), 3, 16, 8), text, size=(16, 24))
    except RuntimeError as error:  # 0.3.64 cannot do it on this dimension, with or without HanDrawer
        pytest.skip(f"this host's context windows do not work on pictures: {error}")
    assert [tuple(call.x.shape[-2:]) for call in calls] == [(16, 16), (16, 16)]
    whole = sd15.residuals([one_hand()], 16, 24, calls[0].context[0])
    for call, left in zip(calls, (0, 8), strict=True):
        for block, level in sd15.network.levels.items():
            expected = whole[block][..., left // 2**level :][..., : call.added[block].shape[-1]]
            assert expected.any() and relative(call.added[block][0], expected) < 1e-4, (block, left)


def test_windows_over_a_batch_with_a_text_for_each_picture(sd15: Canvas):
    """Both the hands and the texts are cut with the pictures."""
    frames = (one_hand(), other_hand(), Frame(208, 136), one_hand())
    model = sd15.patched(sd15.features(*frames))
    texts = sd15.tagged(sd15.text(1, rows=4))
    try:
        _, calls = sd15.sample(windowed(model, 0, 2), texts, batch=4, size=(17, 26))
    except RuntimeError as error:
        pytest.skip(f"this host's context windows do not work on batches: {error}")
    (block, *_) = sd15.network.levels
    rows = [(text, call.added[block][row]) for call in calls for row, text in enumerate(call.context)]
    assert len(calls) == 2 and len(rows) == 4
    for picture, (text, added) in enumerate(rows):
        assert torch.equal(text, texts[0][0][picture])
        expected = sd15.residuals([frames[picture]], 17, 26, text)[block]
        assert torch.equal(added, expected) if not expected.any() else relative(added, expected) < 1e-4


def slide(length: int, step: int):
    """AnimateDiff's sliding windows, as far as others see them: a wrapper that cuts x, times and conditionings.

    What it says of its windows stands in ``ad_params`` until the next window, also between the steps.
    """
    state: dict = {"full_length": None, "context_length": length, "sub_idxs": None}

    def cut(cond: dict, chosen: list[int], count: int) -> dict:
        def own(value):
            inner = getattr(value, "cond", None)
            if isinstance(inner, torch.Tensor):
                return value._copy_with(inner[chosen]) if inner.shape[0] == count else value
            return value[chosen] if isinstance(value, torch.Tensor) and value.shape[0] == count else value

        inner = {name: own(value) for name, value in cond["model_conds"].items()}
        return {**{name: own(value) for name, value in cond.items()}, "model_conds": inner}

    def wrapper(executor, model, conds, x, timestep, model_options):
        options = model_options["transformer_options"]
        options["ad_params"] = state  # before the windows: as the latest step left it
        state["full_length"] = len(x)
        total = [torch.zeros_like(x) for _ in conds]
        counts = torch.zeros(len(x), 1, 1, 1)
        for start in range(0, len(x) - length + step, step):
            chosen = [(start + i) % len(x) for i in range(length)]  # the last one begins again at the first picture
            state["sub_idxs"] = chosen
            parts = [None if group is None else [cut(c, chosen, len(x)) for c in group] for group in conds]
            for sum_of, found in zip(
                total, executor(model, parts, x[chosen], timestep[chosen], model_options), strict=True
            ):
                sum_of[chosen] += found
            counts[chosen] += 1
        return [sum_of / counts for sum_of in total]

    return wrapper


@pytest.mark.parametrize("first", ["HanDrawer", "AnimateDiff"])
def test_sliding_windows_around_us_or_inside(sd15: Canvas, first: str):
    """Whichever node comes first, each window shows its own pictures, in the second step as in the first."""
    from comfy.patcher_extension import WrappersMP

    frames = (one_hand(112, 72), other_hand(112, 72), Frame(112, 72), one_hand(112, 72), other_hand(112, 72))
    features = sd15.features(*frames)

    def sliding(model):
        model = model.clone()
        model.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, "slide", slide(3, 2))
        return model

    model = sliding(sd15.patched(features)) if first == "HanDrawer" else sd15.patched(features, sliding(sd15.model))
    pair = sd15.tagged(sd15.text(1)), sd15.tagged(sd15.text(2), "negative")
    _, calls = sd15.sample(model, *pair, cfg=4.0, batch=5, size=(9, 14), steps=2)
    windows = [[0, 1, 2], [2, 3, 4]]
    assert len(calls) == 2 * len(windows)
    (block, *_) = sd15.network.levels
    known = {}
    for number, call in enumerate(calls):
        for row, text in enumerate(call.context):
            picture = windows[number % 2][row % 3]
            name = (picture, text.numpy().tobytes())
            if name not in known:
                known[name] = sd15.residuals([frames[picture]], 9, 14, text)[block]
            expected, found = known[name], call.added[block][row]
            assert torch.equal(found, expected) if not expected.any() else relative(found, expected) < 1e-4, number


def test_tiles_cut_by_a_function_wrapper(sd15: Canvas):
    """Some tile nodes cut x and everything that lies on the same grid, and stack the tiles: ours lies there, too."""

    def tiled(apply, given):
        x, c = given["input"], given["c"]
        halves = (slice(0, 8), slice(8, 16))

        def stacked(value):
            if isinstance(value, torch.Tensor) and value.ndim == 4 and value.shape[-2:] == x.shape[-2:]:
                return torch.cat([value[..., half] for half in halves])
            if isinstance(value, torch.Tensor) and len(value) == len(x):
                return torch.cat([value, value])
            return value

        options = {**c["transformer_options"], "cond_or_uncond": list(given["cond_or_uncond"]) * 2}
        parts = {name: stacked(value) for name, value in c.items() if name != "transformer_options"}
        found = apply(stacked(x), stacked(given["timestep"]), **parts, transformer_options=options)
        return torch.cat(found.chunk(2), dim=-1)

    model = sd15.patched(sd15.features(one_hand(128, 128)))
    model.set_model_unet_function_wrapper(tiled)
    pair = sd15.tagged(sd15.text(1)), sd15.tagged(sd15.text(2), "negative")
    _, (call,) = sd15.sample(model, *pair, cfg=4.0, size=(16, 16))
    assert call.x.shape == (4, 4, 16, 8)
    for row, text in enumerate(call.context):
        whole = sd15.residuals([one_hand(128, 128)], 16, 16, text)
        for block, level in sd15.network.levels.items():
            left = (8 if row >= 2 else 0) // 2**level
            expected = whole[block][..., left : left + call.added[block].shape[-1]]
            found = call.added[block][row]
            assert torch.equal(found, expected) if not expected.any() else relative(found, expected) < 1e-4, block


def test_parts_of_a_batch(nodes, host_nodes):
    """Beside the host's nodes that cut batches of latents: the hands of the pictures that are left."""
    from comfy_extras.nodes_rebatch import LatentRebatch

    frames = tuple(Frame(100 + i, 80) for i in range(5))
    hands = Hands(frames)
    batches = nodes("batches")

    def taken(**inputs) -> list[int]:
        found = batches.HanDrawerHandsFromBatch.execute(hands, **{"batch_index": 0, "length": 1, **inputs}).args[0]
        return [frame.width - 100 for frame in found.frames]

    latents = {"samples": torch.arange(5.0).reshape(5, 1, 1, 1).expand(5, 4, 8, 8)}
    for start, length in ((0, 1), (1, 3), (3, 9), (9, 2)):
        (cut,) = host_nodes.LatentFromBatch().frombatch(latents, start, length)
        assert taken(batch_index=start, length=length) == cut["samples"][:, 0, 0, 0].tolist()
        assert taken(latent=cut) == cut["samples"][:, 0, 0, 0].tolist()
    (twice,) = host_nodes.LatentFromBatch().frombatch(host_nodes.LatentFromBatch().frombatch(latents, 1, 3)[0], 1, 2)
    assert taken(latent=twice) == [2, 3]
    for part in LatentRebatch.execute([latents], [2]).args[0]:
        assert taken(latent=part) == part["samples"][:, 0, 0, 0].tolist()
    assert taken(latent=latents) == [0, 1, 2, 3, 4], "a batch that was never cut"
    with pytest.raises(ValueError, match=r"^hands: they belong to no picture"):
        batches.HanDrawerHandsFromBatch.execute(Hands(()), 0, 1)


def test_a_repeated_batch_repeats_the_hands(sd15: Canvas, host_nodes):
    """Repeat Latent Batch puts the whole batch behind itself, and fewer lists of hands begin again."""
    (latent,) = host_nodes.RepeatLatentBatch().repeat({"samples": torch.zeros(2, 4, 9, 14)}, 2)
    frames = (one_hand(112, 72), other_hand(112, 72))
    text = sd15.tagged(sd15.text(1))
    _, (call,) = sd15.sample(sd15.patched(sd15.features(*frames)), text, latent=latent["samples"])
    (block, *_) = sd15.network.levels
    for row, frame in enumerate(frames * 2):
        assert relative(call.added[block][row], sd15.residuals([frame], 9, 14, call.context[0])[block]) < 1e-4


def test_fewer_and_more_hands_than_pictures_are_told_on_the_node(sd15: Canvas, nodes, monkeypatch):
    said = []
    monkeypatch.setattr(nodes("notes"), "tell", lambda node, sentence: said.append((node, sentence)))
    text = sd15.tagged(sd15.text(1))
    settings = {"size": (9, 14), "steps": 2}
    two = sd15.patched(sd15.features(one_hand(112, 72), other_hand(112, 72)), key="7")
    for batch in (1, 2, 3):
        sd15.sample(two, text, batch=batch, **settings)
    sd15.sample(sd15.patched(sd15.features(Frame(112, 72)), key="8"), text, **settings)
    assert said == [
        ("7", "The hands of 2 pictures serve a batch of 1: only the first 1 are used."),
        ("7", "The hands of 2 pictures serve a batch of 3: they repeat in turn."),
        ("8", "There is no hand to draw, so the model draws alone."),
    ]


def test_what_is_said_reaches_the_page(nodes, monkeypatch):
    """The host shows such a text on the node; without a server it is in the log alone."""
    import sys

    sent = []
    instance = SimpleNamespace(send_progress_text=lambda *args: sent.append(args))
    monkeypatch.setitem(sys.modules, "server", SimpleNamespace(PromptServer=SimpleNamespace(instance=instance)))
    nodes("notes").tell("12", "Something.")
    assert sent == [("Something.", "12")]
    monkeypatch.delitem(sys.modules, "server")
    nodes("notes").tell("12", "Something.")
