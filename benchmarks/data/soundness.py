"""Fits the rule by which `data prepare` doubts malformed hands, to drawn hands of known kind.

    python benchmarks/data/soundness.py measure OUT 0 600       # in pieces, each some minutes
    python benchmarks/data/soundness.py fit OUT                 # writes handrawer/data/soundness.safetensors

Half of the hands are sound, of all poses and views; the others are malformed in five ways: those of `made_up.py`, and
the four of `handrawer/evaluate/malformed.py`. A fifth of the scenes is kept for choosing the penalty and the threshold.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)

import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402
from torch import Tensor  # noqa: E402

from benchmarks.data import made_up  # noqa: E402
from handrawer.data.soundness import RULE_FILE, features_of  # noqa: E402
from handrawer.estimate.estimate import estimate_hands  # noqa: E402
from handrawer.evaluate.malformed import KINDS, draw_malformed  # noqa: E402
from handrawer.hand.boxes import box_area  # noqa: E402
from handrawer.hand.model import load_open_hand  # noqa: E402
from handrawer.mini.picture import draw_pictures, make_skin  # noqa: E402
from handrawer.mini.scene import draw_scenes  # noqa: E402
from handrawer.render.pictures import to_pil  # noqa: E402

SEED = 909  # of scenes; those of made_up.py and of mini's training are others
SIZES = (176, 224, 256, 272, 304, 352)
CHUNK = 8
FALSE_ALARMS = 0.02  # share of sound hands that may be doubted
PENALTIES = (60.0, 150.0, 400.0)


def draw(first: int) -> list[tuple[Tensor, str]]:
    """Pictures [H, W, 3] of one chunk of scenes, as many sound as malformed, with their kinds."""
    model = load_open_hand()
    skin = make_skin(model)
    index = torch.arange(first, first + CHUNK)
    size = SIZES[(first // CHUNK) % len(SIZES)]
    scene = draw_scenes(SEED, index, model)
    pictures = [(p, "sound") for p in draw_pictures(scene, model, skin, size=size, seed=SEED)]
    chunk = first // CHUNK
    kind = KINDS[(chunk // 3) % len(KINDS)] if chunk % 3 == 2 else "planted"
    if kind == "planted":
        changed = made_up._changed(scene, ["malformed"] * CHUNK, model)
        pictures += [(p, kind) for p in draw_pictures(changed, model, skin, size=size, seed=SEED)]
    else:
        pictures += [(p, kind) for p in draw_malformed(SEED, index, kind, size=size).pictures]
    return [(p.permute(1, 2, 0), k) for p, k in pictures]


def measure(out: Path, start: int, stop: int) -> None:
    """Features of the hands that `data prepare` finds in the pictures of the scenes start..stop - 1."""
    torch.set_num_threads(1)
    rows, kinds, scenes = [], [], []
    for first in range(start, stop, CHUNK):
        for place, (picture, kind) in enumerate(draw(first)):
            file = io.BytesIO()
            to_pil(picture).save(file, "JPEG", quality=80 + 5 * (place % 4))
            seen = torch.from_numpy(np.array(Image.open(file))).float() / 255
            hands = estimate_hands(seen[None], max_hands=10, thoroughness="fast").frames[0].hands
            if hands:
                rows.append(features_of(seen, [max(hands, key=lambda hand: float(box_area(hand.box)))])[0])
                kinds.append(kind)
                scenes.append(first + place % CHUNK)
    out.mkdir(parents=True, exist_ok=True)
    names = ("sound", "planted", *KINDS)
    np.savez(out / f"features_{start:05d}.npz", x=torch.stack(rows).numpy().astype(np.float16),
             kind=np.array([names.index(kind) for kind in kinds]), scene=np.array(scenes))  # fmt: skip


def logistic(x: np.ndarray, y: np.ndarray, penalty: float) -> np.ndarray:
    """Weights and, last, bias of a ridge logistic regression, both classes weighed alike; x is standardised."""
    x = np.c_[x, np.ones(len(x))]
    share = np.where(y == 1, 0.5 / y.mean(), 0.5 / (1 - y.mean()))
    ridge = np.diag([penalty] * (x.shape[1] - 1) + [1e-6])
    w = np.zeros(x.shape[1])
    for _ in range(7):
        p = 1 / (1 + np.exp(-x @ w))
        hessian = (x * (share * p * (1 - p))[:, None]).T @ x + ridge
        w -= np.linalg.solve(hessian, x.T @ (share * (p - y)) + ridge @ w)
    return w


def auc(high: np.ndarray, low: np.ndarray) -> float:
    return float((high[:, None] > low[None]).mean())


def fit(out: Path) -> None:
    """Fit, choose penalty and threshold on the scenes that were kept, say what was reached, and write the rule."""
    from safetensors.torch import save_file

    parts = [np.load(file) for file in sorted(out.glob("features_*.npz"))]
    x, kind, scene = (np.concatenate([part[name] for part in parts]) for name in ("x", "kind", "scene"))
    x, kept = x.astype(np.float64), scene % 5 == 0
    y = (kind == 0).astype(float)
    mean, spread = x[~kept].mean(0), x[~kept].std(0) + 1e-3
    z = ((x - mean) / spread).clip(-6, 6)
    tried = {}
    for penalty in PENALTIES:
        w = logistic(z[~kept], y[~kept], penalty)
        odds = z[kept] @ w[:-1] + w[-1]
        tried[penalty] = (auc(odds[y[kept] == 1], odds[y[kept] == 0]), w, odds)
        print(f"penalty {penalty:g}: AUC {tried[penalty][0]:.3f}")
    penalty = max(tried, key=lambda p: tried[p][0])
    score, w, odds = tried[penalty]
    least = float(np.quantile(odds[y[kept] == 1], FALSE_ALARMS))
    print(f"{int((~kept).sum())} hands fitted, {int(kept.sum())} kept; AUC {score:.3f} with {penalty:g}")
    for number, name in enumerate(("sound", "planted", *KINDS)):
        own = odds[kind[kept] == number]
        if len(own):
            print(f"{name}: {len(own)} hands, {100 * (own < least).mean():.0f} % doubted")
    tensors = {"mean": mean, "spread": spread, "weights": w[:-1]}
    told = {"licence": "Apache-2.0, drawn hands alone", "script": "benchmarks/data/soundness.py",
            "bias": f"{w[-1]:.6f}", "least": f"{least:.4f}", "auc": f"{score:.3f}"}  # fmt: skip
    save_file({k: torch.tensor(v, dtype=torch.float32) for k, v in tensors.items()}, RULE_FILE, metadata=told)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    measuring = commands.add_parser("measure")
    measuring.add_argument("out", type=Path)
    measuring.add_argument("start", type=int)
    measuring.add_argument("stop", type=int)
    fitting = commands.add_parser("fit")
    fitting.add_argument("out", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "measure":
        measure(arguments.out, arguments.start, arguments.stop)
    else:
        fit(arguments.out)


if __name__ == "__main__":
    main()
