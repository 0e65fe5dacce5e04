"""Fits the judge's logistic model to synthetic malformations, and measures it on kinds that it was not fitted to.

    python -m handrawer.evaluate.judge_fit measure MEASURED [--workers 16]    # draws the hands and looks at them
    python -m handrawer.evaluate.judge_fit look MEASURED [NETWORK]            # asks the judge's network
    python -m handrawer.evaluate.judge_fit fit MEASURED                       # writes judge.json

``measure`` writes MEASURED (safetensors) with the signals of training and test hands, and beside it MEASURED.views with
what the network is to see; ``look`` adds what it says. The logistic model is fitted to the kinds of ``judge_kinds`` and
``judge_smears``, and to none of the four of ``malformed``, which are the test's.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from ..estimate.landmarks import LandmarkDetector
from ..estimate.regions import Pyramid
from .judge import MODEL_FILE, NETWORK, JudgeModel, detector_of_judge, hands_to_judge
from .judge_network import WEIGHTS_FILE, hand_views, load_network, look
from .judge_signals import anatomy, bone_ratios, explain, fit_signals, look_again, middle, steadiness
from .judge_silhouette import compare
from .malformed import KINDS, draw_malformed, load_open_hand

log = logging.getLogger("handrawer")

SOUND, ANY = "sound", "any"  # sound hands in poses that show most fingers; in all poses and views
OTHER = "other"  # malformed in one of the ways that the network was trained on
TRAIN_SEED, TEST_SEED = 101, 204
TRAIN_COUNT = {SOUND: 160, ANY: 60, **dict.fromkeys(KINDS, 30), OTHER: 300}
TEST_COUNT = {SOUND: 100, **dict.fromkeys(KINDS, 50)}
CHUNK = 8  # scenes that a worker draws at once
RIDGE = 0.02  # of the logistic model's standardised weights
BETTER = ("presence", "presence_least", NETWORK)  # the greater the better; of the others, the worse


@dataclass(frozen=True, eq=False)
class Measured:
    """Signals of N pictures."""

    kind: tuple[str, ...]
    found: Tensor
    """[N] bool: whether a hand was found at all."""
    names: tuple[str, ...]
    signals: Tensor
    """[N, S] all but those of the bones; zeros where nothing was found."""
    world: Tensor
    """[N, 21, 3] metres, median of the looks."""
    flat: Tensor
    """[N, 21, 2] pixels, likewise."""
    right: Tensor
    """[N] bool."""
    features: Tensor
    """[N, C] mean of the looks."""
    views: Tensor | None = None
    """[N, VIEWS, 3, S, S] uint8, what the judge's network sees."""
    sound: dict[str, Tensor] = field(default_factory=dict)
    """What networks say of them, [N] logits of a sound hand by the network's name; "" is the one that ships."""

    def rows(self, *kinds: str) -> Tensor:
        """[M] the numbers of the pictures of these kinds."""
        return torch.tensor([i for i, kind in enumerate(self.kind) if kind in kinds], dtype=torch.long)


def measure_picture(picture: Tensor, detector: LandmarkDetector) -> dict | None:
    """What the judge sees in the largest hand of a picture [H, W, 3]; None where there is none."""
    landmarks = hands_to_judge(picture, detector)
    if not landmarks:
        return None
    height, width = picture.shape[:2]
    pyramid, model = Pyramid(picture), load_open_hand()
    looked = look_again(pyramid, (landmarks[0].points * torch.tensor([width, height]))[None])
    flat, world = middle(looked)
    fit, hands = explain(model, looked, width, height)
    signals = {**steadiness(looked), **fit_signals(fit)}
    values = {name: float(value) for name, value in signals.items()}
    values.update(compare(pyramid, hands[0], flat[0], model).signals())
    return {
        "signals": values, "world": world[0], "flat": flat[0], "right": hands[0].side == "right",
        "features": looked.features[0].mean(dim=0),
        "views": (hand_views(pyramid, flat)[0] * 255).round().to(torch.uint8),
    }  # fmt: skip


def _chunk(task: tuple[int, str, int]) -> list[tuple[str, dict | None]]:
    seed, kind, start = task
    torch.set_num_threads(1)
    # Every kind has scenes of its own, so that no malformed hand's sound twin is among the others.
    first = start + 1_000_000 * list(TRAIN_COUNT).index(kind)
    index = torch.arange(first, first + CHUNK)
    if kind == OTHER:
        from .judge_scenes import draw_whole

        drawn = draw_whole(seed, index, plain=True).malformed
    else:
        drawn = draw_malformed(seed, index, None if kind in (SOUND, ANY) else kind, any_pose=kind == ANY).pictures
    detector = detector_of_judge(1)
    pictures = drawn.permute(0, 2, 3, 1).contiguous()
    # As pictures come from a file: in 8 bits.
    return [(kind, measure_picture((picture * 255).round() / 255, detector)) for picture in pictures]


def measured(
    seed: int, counts: dict[str, int], workers: int, deadline: float = float("inf")
) -> Iterator[tuple[str, dict | None]]:
    """Draw and measure hands until there are as many of each kind as wanted, the same for any number of workers.

    Args:
        deadline: of ``time.monotonic``, after which no more are waited for.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        waiting = dict.fromkeys(counts, 0)
        have = dict.fromkeys(counts, 0)
        futures: dict[str, list] = {kind: [] for kind in counts}
        while any(have[kind] < counts[kind] for kind in counts) and time.monotonic() < deadline:
            open_kinds = [kind for kind in counts if have[kind] < counts[kind]]
            for kind in open_kinds:
                while len(futures[kind]) < -(-2 * workers // len(open_kinds)):
                    futures[kind].append(pool.submit(_chunk, (seed, kind, waiting[kind])))
                    waiting[kind] += CHUNK
            for kind in open_kinds:
                for entry in futures[kind].pop(0).result():
                    if have[kind] < counts[kind]:
                        have[kind] += 1
                        yield entry
        for kind in counts:
            for future in futures[kind]:
                future.cancel()


def stack(entries: list[tuple[str, dict | None]]) -> Measured:
    """Entries of ``measured`` as tensors."""
    first = next(entry for _, entry in entries if entry is not None)
    names = tuple(first["signals"])
    blank = {"signals": dict.fromkeys(names, 0.0), "world": torch.zeros(21, 3), "flat": torch.zeros(21, 2),
             "right": True, "features": torch.zeros_like(first["features"]),
             "views": torch.zeros_like(first["views"])}  # fmt: skip
    filled = [entry or blank for _, entry in entries]
    tensors = {
        name: torch.stack([torch.as_tensor(entry[name]) for entry in filled])
        for name in ("world", "flat", "right", "features", "views")
    }
    return Measured(
        kind=tuple(kind for kind, _ in entries),
        found=torch.tensor([entry is not None for _, entry in entries]),
        names=names,
        signals=torch.tensor([[entry["signals"][name] for name in names] for entry in filled]),
        world=tensors["world"], flat=tensors["flat"], right=tensors["right"], features=tensors["features"],
        views=tensors["views"],
    )  # fmt: skip


_TENSORS = ("found", "signals", "world", "flat", "right", "features")


def save_measured(path: str, **sets: Measured) -> None:
    """Write sets of hands; their views, which are large, into a file beside it."""
    from safetensors.torch import save_file

    told = {name: json.dumps({"kind": part.kind, "names": part.names}) for name, part in sets.items()}
    tensors, views = {}, {}
    for name, part in sets.items():
        for key in _TENSORS:
            value = getattr(part, key)
            tensors[f"{name}.{key}"] = (value.half() if key == "features" else value).contiguous()
        tensors |= {f"{name}.sound.{network}": logits.contiguous() for network, logits in part.sound.items()}
        if part.views is not None:
            views[name] = part.views.contiguous()
    save_file(tensors, path, metadata=told)
    if views:
        save_file(views, views_file(path))


def views_file(path: str) -> Path:
    return Path(path).with_suffix(".views")


def load_measured(path: str, views: bool = False) -> dict[str, Measured]:
    """The sets of a file; with what the network is to see, if asked for."""
    from safetensors import safe_open
    from safetensors.torch import load_file

    found, seen = {}, load_file(views_file(path)) if views else {}
    with safe_open(path, framework="pt") as file:
        for name, told in (file.metadata() or {}).items():
            if name in ("train", "test", "mini"):
                about = json.loads(told)
                tensors = {key: file.get_tensor(f"{name}.{key}") for key in _TENSORS}
                tensors["features"] = tensors["features"].float()
                start = f"{name}.sound."
                sound = {key[len(start) :]: file.get_tensor(key) for key in list(file.keys()) if key.startswith(start)}
                found[name] = Measured(
                    kind=tuple(about["kind"]), names=tuple(about["names"]), views=seen.get(name), sound=sound, **tensors
                )
    return found


def columns(part: Measured, usual: Tensor, spread: Tensor, network: str | None = "") -> tuple[tuple[str, ...], Tensor]:
    """All signals [N, S] with their names, the bones' and the network's too (None: without a network)."""
    more = anatomy(part.flat, part.world, part.right, usual, spread)
    if network is not None:
        more[NETWORK] = part.sound[network]
    return (*part.names, *more), torch.cat([part.signals, torch.stack(list(more.values()), dim=1)], dim=1)


def fit(part: Measured, kinds: tuple[str, ...], network: str | None = "") -> JudgeModel:
    """A model that tells these kinds from sound hands, of the hands that are found."""
    sound = part.rows(SOUND, ANY)
    sound, bad = sound[part.found[sound]], part.rows(*kinds)
    bad = bad[part.found[bad]]
    ratios = bone_ratios(part.world[sound])
    usual, usual_spread = ratios.mean(dim=0), ratios.std(dim=0).clamp_min(0.02)
    names, every = columns(part, usual, usual_spread, network)
    rows = torch.cat([sound, bad])
    values = every[rows].double()
    good = torch.cat([torch.ones(len(sound)), torch.zeros(len(bad))]).double()
    mean, spread = values.mean(dim=0), values.std(dim=0).clamp_min(1e-6)
    better = torch.tensor([name in BETTER for name in names])
    weights, bias = _logistic(((values - mean) / spread).clamp(-4, 4), good, better)
    return JudgeModel(names, mean, spread, weights, float(bias), usual, usual_spread)


def _logistic(values: Tensor, good: Tensor, better: Tensor) -> tuple[Tensor, Tensor]:
    """Weights [S] and bias of a ridge-penalised logistic regression; sound and malformed hands count alike.

    What is known of a signal beforehand, that it speaks for a sound hand (better [S] bool) or against it, is kept:
    weights of the wrong sign are left out, one after the other. Otherwise kinds of malformation that the model has not
    seen could count in a hand's favour.
    """
    share = torch.where(good > 0.5, 0.5 / (good > 0.5).sum(), 0.5 / (good < 0.5).sum())
    sign = torch.where(better, 1.0, -1.0).double()
    kept = torch.arange(values.shape[1])
    while True:
        weights, bias = _newton(values[:, kept], good, share)
        wrong = weights * sign[kept]
        if not len(kept) or float(wrong.min()) >= 0:
            break
        kept = kept[torch.arange(len(kept)) != wrong.argmin()]
    every = torch.zeros(values.shape[1], dtype=values.dtype)
    every[kept] = weights
    return every, bias


def _newton(values: Tensor, good: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    design = torch.cat([values, torch.ones(len(values), 1, dtype=values.dtype)], dim=1)
    ridge = torch.full((design.shape[1],), RIDGE, dtype=values.dtype)
    ridge[-1] = 1e-9
    at = torch.zeros(design.shape[1], dtype=values.dtype)
    for _ in range(50):
        chance = (design @ at).sigmoid()
        slope = design.T @ (share * (chance - good)) + ridge * at
        curve = (design * (share * chance * (1 - chance))[:, None]).T @ design + torch.diag(ridge)
        step = torch.linalg.solve(curve, slope)
        at = at - step
        if float(step.abs().max()) < 1e-9:
            break
    return at[:-1], at[-1]


def qualities(model: JudgeModel, part: Measured, network: str | None = "") -> Tensor:
    """[N] qualities, 0 where nothing was found."""
    names, every = columns(part, model.usual, model.usual_spread, network)
    found = [model.quality(dict(zip(names, row, strict=True))) for row in every.tolist()]
    return torch.where(part.found, torch.tensor(found), 0.0)


def auc(good: Tensor, bad: Tensor) -> float:
    """Area under the ROC curve: the chance that a sound hand has the higher quality, ties half."""
    more = (good[:, None] > bad[None]).double() + 0.5 * (good[:, None] == bad[None]).double()
    return float(more.mean())


def _measure(arguments: argparse.Namespace) -> None:
    scale = arguments.share
    sets: dict[str, Measured] = {}
    deadline = time.monotonic() + arguments.seconds
    if Path(arguments.measured).is_file():  # what was measured before stays
        sets = load_measured(arguments.measured, views=True)
    for name, seed, counts in (("test", arguments.test_seed, TEST_COUNT), ("train", TRAIN_SEED, TRAIN_COUNT)):
        if name in sets or name not in arguments.sets:
            continue
        wanted = {
            kind: count for kind, count in counts.items() if not (arguments.few and name == "train" and kind in KINDS)
        }
        counts = {kind: max(1, round(scale * count)) for kind, count in wanted.items()}
        entries = list(measured(seed, counts, arguments.workers, deadline))
        log.info("%s: %d hands of %d", name, len(entries), sum(counts.values()))
        if entries:
            sets[name] = stack(entries)
    save_measured(arguments.measured, **sets)


def _look(arguments: argparse.Namespace) -> None:
    parts = load_measured(arguments.measured, views=True)
    for told in arguments.network or [str(WEIGHTS_FILE)]:
        name, _, path = told.rpartition("=")
        network = load_network(Path(path)).to(arguments.device)
        for key, part in parts.items():
            if part.views is None:
                raise ValueError(f"{views_file(arguments.measured)} lacks the views of {key}: measure again.")
            some = [look(v.to(arguments.device).float() / 255, network)[0].cpu() for v in part.views.split(64)]
            parts[key] = replace(part, sound=part.sound | {name: torch.cat(some)})
    save_measured(arguments.measured, **{key: replace(part, views=None) for key, part in parts.items()})


def _fit(arguments: argparse.Namespace) -> None:
    parts = load_measured(arguments.measured)
    model = fit(parts["train"], (OTHER,))
    MODEL_FILE.write_text(model.to_json(), encoding="utf-8")
    quality = qualities(model, parts["test"])
    area = auc(quality[parts["test"].rows(SOUND)], quality[parts["test"].rows(*KINDS)])
    log.info("%s, which it was not fitted to: area under the curve %.3f", ", ".join(KINDS), area)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    first = commands.add_parser("measure", help="draw hands and look at them; a core minute for eighty")
    first.add_argument("measured")
    first.add_argument("--workers", type=int, default=1)
    first.add_argument("--sets", nargs="+", default=("test", "train"), choices=("test", "train"))
    first.add_argument("--test-seed", type=int, default=TEST_SEED, help="of the test's scenes")
    first.add_argument("--few", action="store_true", help="without the test's kinds in the training hands")
    first.add_argument("--seconds", type=float, default=float("inf"), help="after which what is there is kept")
    first.add_argument("--share", type=float, default=1.0, help="of the number of hands")
    first.set_defaults(run=_measure)
    third = commands.add_parser("look", help="ask the judge's network of all hands that were measured")
    third.add_argument("measured")
    third.add_argument("network", nargs="*", help="a file, or NAME=FILE; without a name, or without any: what ships")
    third.add_argument("--device", default="cpu")
    third.set_defaults(run=_look)
    second = commands.add_parser("fit", help="write judge.json and say how well it tells kinds that it has not seen")
    second.add_argument("measured")
    second.set_defaults(run=_fit)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    arguments.run(arguments)


if __name__ == "__main__":
    main()
