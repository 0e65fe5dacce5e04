"""Fits the judge's logistic model to synthetic malformations, and measures it on kinds that it was not fitted to.

    python -m handrawer.evaluate.judge_fit measure MEASURED [--workers 16]    # draws the hands and looks at them
    python -m handrawer.evaluate.judge_fit fit MEASURED                       # writes judge.json

``measure`` writes MEASURED.safetensors with the signals of training and test hands; no picture is kept. The model that
ships is fitted to all kinds; the figures of the report come from models fitted to two of the kinds and tested on the
other two, with other scenes.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from ..estimate.landmarks import LandmarkDetector
from ..estimate.regions import Pyramid
from .judge import MODEL_FILE, JudgeModel
from .judge_signals import anatomy, bone_ratios, explain, fit_signals, look_again, middle, steadiness
from .judge_silhouette import compare
from .malformed import KINDS, draw_malformed, load_open_hand

log = logging.getLogger("handrawer")

SOUND, ANY = "sound", "any"  # sound hands in poses that show most fingers; in all poses and views
TRAIN_SEED, TEST_SEED = 101, 202
TRAIN_COUNT = {SOUND: 200, ANY: 100, **dict.fromkeys(KINDS, 100)}
TEST_COUNT = {SOUND: 100, ANY: 60, **dict.fromkeys(KINDS, 50)}
CHUNK = 24  # scenes that a worker draws at once
MIN_CONFIDENCE = 0.4
RIDGE = 0.02  # of the logistic model's standardised weights
BETTER = ("presence", "presence_least")  # signals that speak for a hand the greater they are; the others against it
SPLITS = ((("missing", "fused"), ("extra", "backwards")), (("extra", "backwards"), ("missing", "fused")))


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

    def rows(self, *kinds: str) -> Tensor:
        """[M] the numbers of the pictures of these kinds."""
        return torch.tensor([i for i, kind in enumerate(self.kind) if kind in kinds], dtype=torch.long)


def measure_picture(picture: Tensor, detector: LandmarkDetector) -> dict | None:
    """What the judge sees in the largest hand of a picture [H, W, 3]; None where there is none."""
    landmarks = detector(picture)
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
    }  # fmt: skip


def _chunk(task: tuple[int, str, int]) -> list[tuple[str, dict | None]]:
    seed, kind, start = task
    torch.set_num_threads(1)
    # Every kind has scenes of its own, so that no malformed hand's sound twin is among the others.
    first = start + 1_000_000 * list(TRAIN_COUNT).index(kind)
    drawn = draw_malformed(
        seed, torch.arange(first, first + CHUNK), None if kind in (SOUND, ANY) else kind, any_pose=kind == ANY
    )
    detector = LandmarkDetector(max_hands=1, min_confidence=MIN_CONFIDENCE)
    pictures = drawn.pictures.permute(0, 2, 3, 1).contiguous()
    # As pictures come from a file: in 8 bits.
    return [(kind, measure_picture((picture * 255).round() / 255, detector)) for picture in pictures]


def measured(seed: int, counts: dict[str, int], workers: int) -> Iterator[tuple[str, dict | None]]:
    """Draw and measure hands until there are as many of each kind as wanted, the same for any number of workers."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        waiting = dict.fromkeys(counts, 0)
        have = dict.fromkeys(counts, 0)
        futures: dict[str, list] = {kind: [] for kind in counts}
        while any(have[kind] < counts[kind] for kind in counts):
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
             "right": True, "features": torch.zeros_like(first["features"])}  # fmt: skip
    filled = [entry or blank for _, entry in entries]
    return Measured(
        kind=tuple(kind for kind, _ in entries),
        found=torch.tensor([entry is not None for _, entry in entries]),
        names=names,
        signals=torch.tensor([[entry["signals"][name] for name in names] for entry in filled]),
        **{name: torch.stack([torch.as_tensor(entry[name]) for entry in filled])
           for name in ("world", "flat", "right", "features")},
    )  # fmt: skip


_TENSORS = ("found", "signals", "world", "flat", "right", "features")


def save_measured(path: str, **sets: Measured) -> None:
    from safetensors.torch import save_file

    told = {name: json.dumps({"kind": part.kind, "names": part.names}) for name, part in sets.items()}
    tensors = {
        f"{name}.{key}": getattr(part, key).half() if key == "features" else getattr(part, key)
        for name, part in sets.items()
        for key in _TENSORS
    }
    save_file({key: value.contiguous() for key, value in tensors.items()}, path, metadata=told)


def load_measured(path: str) -> dict[str, Measured]:
    from safetensors import safe_open

    found = {}
    with safe_open(path, framework="pt") as file:
        for name, told in (file.metadata() or {}).items():
            if name in ("train", "test", "mini"):
                about = json.loads(told)
                tensors = {key: file.get_tensor(f"{name}.{key}") for key in _TENSORS}
                tensors["features"] = tensors["features"].float()
                found[name] = Measured(kind=tuple(about["kind"]), names=tuple(about["names"]), **tensors)
    return found


def columns(part: Measured, usual: Tensor, spread: Tensor) -> tuple[tuple[str, ...], Tensor]:
    """All signals [N, S] with their names, the bones' too."""
    more = anatomy(part.flat, part.world, part.right, usual, spread)
    return (*part.names, *more), torch.cat([part.signals, torch.stack(list(more.values()), dim=1)], dim=1)


def fit(part: Measured, kinds: tuple[str, ...]) -> JudgeModel:
    """A model that tells these kinds from sound hands, of the hands that are found."""
    sound = part.rows(SOUND, ANY)
    sound, bad = sound[part.found[sound]], part.rows(*kinds)
    bad = bad[part.found[bad]]
    ratios = bone_ratios(part.world[sound])
    usual, usual_spread = ratios.mean(dim=0), ratios.std(dim=0).clamp_min(0.02)
    names, every = columns(part, usual, usual_spread)
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


def qualities(model: JudgeModel, part: Measured) -> Tensor:
    """[N] qualities, 0 where nothing was found."""
    names, every = columns(part, model.usual, model.usual_spread)
    found = [model.quality(dict(zip(names, row, strict=True))) for row in every.tolist()]
    return torch.where(part.found, torch.tensor(found), 0.0)


def auc(good: Tensor, bad: Tensor) -> float:
    """Area under the ROC curve: the chance that a sound hand has the higher quality, ties half."""
    more = (good[:, None] > bad[None]).double() + 0.5 * (good[:, None] == bad[None]).double()
    return float(more.mean())


def _measure(arguments: argparse.Namespace) -> None:
    scale = arguments.share
    sets = {}
    for name, seed, counts in (("train", TRAIN_SEED, TRAIN_COUNT), ("test", TEST_SEED, TEST_COUNT)):
        counts = {kind: max(1, round(scale * count)) for kind, count in counts.items()}
        sets[name] = stack(list(measured(seed, counts, arguments.workers)))
    save_measured(arguments.measured, **sets)


def _fit(arguments: argparse.Namespace) -> None:
    parts = load_measured(arguments.measured)
    MODEL_FILE.write_text(fit(parts["train"], KINDS).to_json(), encoding="utf-8")
    for tuned, others in SPLITS:
        model = fit(parts["train"], tuned)
        quality = qualities(model, parts["test"])
        area = auc(quality[parts["test"].rows(SOUND)], quality[parts["test"].rows(*others)])
        log.info("fitted to %s, tested on %s: %.3f", " and ".join(tuned), " and ".join(others), area)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    first = commands.add_parser("measure", help="draw hands and look at them; a core minute for eighty")
    first.add_argument("measured")
    first.add_argument("--workers", type=int, default=1)
    first.add_argument("--share", type=float, default=1.0, help="of the number of hands")
    first.set_defaults(run=_measure)
    second = commands.add_parser("fit", help="write judge.json and say how well it tells kinds that it has not seen")
    second.add_argument("measured")
    second.set_defaults(run=_fit)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    arguments.run(arguments)


if __name__ == "__main__":
    main()
