"""Trains the judge's network on synthetic hands with malformations that are none of the test's.

    python -m handrawer.evaluate.judge_train draw POOL --pairs 24000 [--device cuda] [--seconds 100]
    python -m handrawer.evaluate.judge_train train POOL RUN --steps 6000 [--device cuda] [--seconds 100]
    python -m handrawer.evaluate.judge_train cache POOL CACHE              # and train CACHE RUN --cached: on a CPU
    python -m handrawer.evaluate.judge_train together RUN --device cuda    # both, with the pool in the GPU's memory
    python -m handrawer.evaluate.judge_train publish RUN                   # writes judge_network.safetensors

``draw`` writes pairs of crops in parts and goes on where it was stopped; so does ``train``, from its last checkpoint.
``together`` also tunes four more networks, each shown three of the test's four kinds, for the report alone.
"""

from __future__ import annotations

import argparse
import functools
import json
import logging
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..estimate.networks import HAND_SIDE
from ..mini.pipeline import load_mini
from ..mini.random_table import uniforms
from .judge_network import CELLS, WEIGHTS_FILE, JudgeNetwork, load_network, save_network, seen_in
from .judge_scenes import TRAINING_KINDS, Pairs, draw_pairs, draw_test_pairs, processed
from .malformed import KINDS

log = logging.getLogger("handrawer")

SEED = 303  # of the training scenes; the logistic model's are judge_fit's, the test's others again
HELD_OUT = 304  # of the pairs that the training is watched on
BATCH = 64  # pairs
RATE, DECAY = 2e-3, 1e-3
HEAT_WEIGHT, HEAT_POSITIVE = 0.5, 4.0
AVERAGE = 0.998
SOFTENED = 0.35  # share of the pairs that go through the small model's autoencoder


def save_pairs(pairs: Pairs, path: Path) -> None:
    from safetensors.torch import save_file

    part = path.with_suffix(".part")
    save_file({name: value.cpu().contiguous() for name, value in vars(in_bytes(pairs)).items()}, part)
    part.rename(path)


def draw(
    folder: Path, pairs: int, device: str, *, seconds: float, chunk: int, size: int, seed: int = SEED,
    kinds: tuple[str, ...] = TRAINING_KINDS, soft: float = SOFTENED, first: int = 0,
    plain: bool = False,
) -> int:  # fmt: skip
    """Draw until there are so many pairs or the time is over; returns how many there are."""
    folder.mkdir(parents=True, exist_ok=True)
    started, have, number = time.monotonic(), 0, first
    while have < pairs and time.monotonic() - started < seconds:
        path = folder / f"{number:05d}.safetensors"
        if path.is_file():
            from safetensors import safe_open

            with safe_open(path, framework="pt") as file:
                have += file.get_slice("kind").get_shape()[0]
        else:
            index = torch.arange(chunk, device=device) + number * chunk
            drawn = softened(draw_pairs(seed, index, kinds, size=size, plain=plain), seed, number * chunk, soft)
            save_pairs(drawn, path)
            have += len(drawn.kind)
        number += 1
    log.info("%d pairs in %s after %.0f s", have, folder, time.monotonic() - started)
    return have


def read_pairs(folder: Path, device: str) -> list[Pairs]:
    """The pairs of a folder's parts, in 8 bits."""
    from safetensors.torch import load_file

    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ValueError(f"There are no pairs in {folder}: draw them first.")
    return [Pairs(**load_file(path, device=device)) for path in files]


def in_bytes(pairs: Pairs) -> Pairs:
    sound, malformed, wrong = (
        (value * 255).round().to(torch.uint8) for value in (pairs.sound, pairs.malformed, pairs.wrong)
    )
    return Pairs(sound, malformed, wrong, pairs.kind)


class Pool:
    """Pairs in memory, in 8 bits."""

    def __init__(self, parts: list[Pairs]):
        self.sound, self.malformed, self.wrong, self.kind = (
            torch.cat([getattr(part, name) for part in parts]) for name in ("sound", "malformed", "wrong", "kind")
        )

    def __len__(self) -> int:
        return len(self.kind)

    def batch(self, rows: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Crops [2 n, 3, S, S] of pairs, whether each is sound [2 n], and what is wrong [2 n, CELLS, CELLS].

        u: [2 n, 32] random numbers; without columns the crops are taken as they are.
        """
        crops = torch.cat([self.sound[rows], self.malformed[rows]]).float() / 255
        wrong = torch.cat([torch.zeros_like(self.wrong[rows]), self.wrong[rows]]).float() / 255
        good = (torch.arange(len(crops), device=crops.device) < len(rows)).float()
        if u.shape[1]:
            crops, wrong = moved(crops, wrong, u[:, 28:])
            mirrored = (u[:, 20] < 0.5)[:, None, None]  # as `processed` does it
            crops, wrong = processed(crops, u[:, :28]), torch.where(mirrored, wrong.flip(-1), wrong)
        return crops, good, wrong


class Cache:
    """What the landmark network saw of pairs, some versions of each, in 16 bits: for training without a GPU.

    Args:
        folders: of ``cache``.
    """

    def __init__(self, *folders: Path):
        from safetensors.torch import load_file

        parts = [load_file(path) for folder in folders for path in sorted(folder.glob("*.safetensors"))]
        if not parts:
            raise ValueError(f"There is nothing in {folders[0]}: make it with the command cache first.")
        most = max(part["fine"].shape[2] for part in parts)
        for part in parts:  # parts with fewer versions show theirs again
            for name in ("fine", "coarse", "wrong"):
                part[name] = part[name][:, :, torch.arange(most) % part[name].shape[2]]
        self.values = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def __len__(self) -> int:
        return len(self.values["kind"])

    def batch(self, rows: Tensor, u: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor, Tensor]:
        """As ``Pool.batch``, but what was seen in place of the crops; u picks the versions."""
        values, count = self.values, self.values["fine"].shape[2]
        version = (u[:, 0] * count).long().clamp_max(count - 1)
        which = torch.cat([rows, rows]), torch.cat([torch.zeros_like(rows), torch.ones_like(rows)]), version
        seen = values["fine"][which].float(), values["coarse"][which].float()
        return seen, (which[1] == 0).float(), values["wrong"][which].float() / 255


@torch.no_grad()
def cache(pool: Path, folder: Path, versions: int, seconds: float = float("inf")) -> None:
    """Write what is seen of a pool's pairs: [N, 2, versions, ...], sound and malformed, each version processed anew."""
    from safetensors.torch import load_file, save_file

    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    for path in sorted(pool.glob("*.safetensors")):
        target = folder / path.name
        if target.is_file() or time.monotonic() - began > seconds:
            continue
        part = Pool([Pairs(**load_file(path))])
        rows = torch.arange(len(part))
        found = []
        for version in range(versions):
            number = int(path.stem) + 100_000 * version
            u = uniforms(SEED + 2, torch.arange(2 * len(rows)), 32, stream=63 + number)
            torch.manual_seed(number)
            crops, _, wrong = part.batch(rows, u)
            seen = [seen_in(some) for some in crops.split(8)]
            found.append((*(torch.cat(maps).half() for maps in zip(*seen, strict=True)), (wrong * 255).byte()))
        names = ("fine", "coarse", "wrong")
        values = {
            name: torch.stack(maps, dim=1).unflatten(0, (2, -1)).transpose(0, 1).contiguous()
            for name, maps in zip(names, zip(*found, strict=True), strict=True)
        }
        save_file(values | {"kind": part.kind}, target.with_suffix(".part"))
        target.with_suffix(".part").rename(target)


def moved(crops: Tensor, wrong: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """A little turned, scaled and shifted: crops and maps alike; u [N, 4]."""
    v = u * 2 - 1
    angle, scale = 0.12 * v[:, 0], torch.exp(0.08 * v[:, 1])
    cos, sin = angle.cos() * scale, angle.sin() * scale
    rows = torch.stack([cos, -sin, 0.06 * v[:, 2], sin, cos, 0.06 * v[:, 3]], dim=1).unflatten(1, (2, 3))
    grid = F.affine_grid(rows, [len(crops), 3, HAND_SIDE, HAND_SIDE], align_corners=False)
    coarse = F.affine_grid(rows, [len(crops), 1, CELLS, CELLS], align_corners=False)
    found = F.grid_sample(wrong[:, None], coarse, align_corners=False)[:, 0]
    return F.grid_sample(crops, grid, align_corners=False), found


def loss_of(sound: Tensor, where: Tensor, good: Tensor, wrong: Tensor) -> Tensor:
    whole = F.binary_cross_entropy_with_logits(sound, 0.02 + 0.96 * good)
    target = (wrong * 2).clamp(0, 1)
    cells = F.binary_cross_entropy_with_logits(where, target, weight=1 + (HEAT_POSITIVE - 1) * target)
    return whole + HEAT_WEIGHT * cells


def train(
    pool: Pool | Cache, run: Path, *, steps: int, device: str, seconds: float, batch: int = BATCH,
    start: Path | None = None, about: dict[str, object] | None = None, rate: float = RATE, save_every: float = 60,
) -> JudgeNetwork:  # fmt: skip
    """Train, from the run's checkpoint where there is one; returns the averaged network.

    The rate falls with the steps or the time, whichever ends sooner. A checkpoint is written every ``save_every``
    seconds.
    """
    run.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    network = (load_network(start) if start else JudgeNetwork()).to(device).train()
    average = {name: value.detach().clone().float() for name, value in network.state_dict().items()}
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=DECAY, betas=(0.9, 0.99))
    step, spent, losses = 0, 0.0, []
    checkpoint = run / "checkpoint.pt"
    if checkpoint.is_file():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        average, step, spent = state["average"], state["step"], state["spent"]
    began = saved = time.monotonic()
    while step < steps:
        used = spent + time.monotonic() - began
        done = max(step / steps, used / seconds)
        if done >= 1:
            break
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 50) * max(0.02, 1 - done)
        torch.manual_seed(step)  # noise and dropout: a run that is stopped goes on as if it had not been
        generator = torch.Generator().manual_seed(step)
        rows = torch.randint(len(pool), (batch,), generator=generator).to(device)
        u = uniforms(SEED + 1, torch.arange(2 * batch, device=device) + 2 * batch * step, 32, stream=61)
        losses.append(_step(network, optimiser, pool.batch(rows, u)))
        step += 1
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                average[name].lerp_(value.detach().float(), 1 - min(AVERAGE, (step + 1) / (step + 10)))
        if step % 50 == 0:
            log.info("step %d, loss %.4f, %.0f s", step, float(torch.stack(losses[-50:]).mean()), used)
        if time.monotonic() - saved >= save_every:
            _save(checkpoint, network, optimiser, average, step, spent + time.monotonic() - began)
            saved = time.monotonic()
    _save(checkpoint, network, optimiser, average, step, spent + time.monotonic() - began)
    final = JudgeNetwork().to(device)
    final.load_state_dict(average)
    told = {"pairs": len(pool), "steps": step, "batch": batch, "kinds": TRAINING_KINDS} | (about or {})
    save_network(final, run / "network.safetensors", told)
    return final.eval()


def _step(network: JudgeNetwork, optimiser: torch.optim.Optimizer, batch: tuple[Any, Tensor, Tensor]) -> Tensor:
    crops, good, wrong = batch
    fast = good.device.type == "cuda"
    seen = crops if isinstance(crops, tuple) else seen_in(crops)
    with torch.autocast(good.device.type, torch.bfloat16, enabled=fast):
        sound, where = network(seen)
    loss = loss_of(sound.float(), where.float(), good, wrong)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimiser.step()
    return loss.detach()


def _save(path: Path, network: JudgeNetwork, optimiser: torch.optim.Optimizer, average, step: int, spent: float):
    part = path.with_suffix(".part")
    torch.save(
        {"network": network.state_dict(), "optimiser": optimiser.state_dict(), "average": average, "step": step,
         "spent": spent}, part
    )  # fmt: skip
    part.rename(path)


@torch.no_grad()
def watch(network: JudgeNetwork, pool: Pool) -> dict[str, float]:
    """Area under the curve on pairs as they were drawn: over all, and for each kind against all sound hands."""
    from .judge_fit import auc

    sound, malformed = [], []
    for rows in torch.arange(len(pool), device=pool.kind.device).split(32):
        crops, _, _ = pool.batch(rows, torch.zeros(2 * len(rows), 0))
        logits = network(seen_in(crops))[0].cpu()
        sound.append(logits[: len(rows)])
        malformed.append(logits[len(rows) :])
    good, bad = torch.cat(sound), torch.cat(malformed)
    found = {"all": auc(good, bad)}
    for number, kind in enumerate(TRAINING_KINDS):
        rows = (pool.kind == number).cpu()
        if bool(rows.any()):
            found[kind] = auc(good, bad[rows])
    return found


def _draw(arguments: argparse.Namespace) -> None:
    draw(Path(arguments.pool), arguments.pairs, arguments.device, seconds=arguments.seconds, chunk=arguments.chunk,
         size=arguments.size, seed=HELD_OUT if arguments.held_out else SEED, soft=arguments.soft,
         first=arguments.first, plain=arguments.plain, kinds=tuple(arguments.kinds))  # fmt: skip


def _train(arguments: argparse.Namespace) -> None:
    run = Path(arguments.run)
    folders = [Path(part) for part in arguments.pool.split(",")]
    pool = Cache(*folders) if arguments.cached else Pool(read_pairs(folders[0], arguments.device))
    network = train(
        pool, run, steps=arguments.steps, device=arguments.device, seconds=arguments.seconds, batch=arguments.batch,
        start=Path(arguments.start) if arguments.start else None,
    )  # fmt: skip
    if arguments.watch:
        areas = watch(network, Pool(read_pairs(Path(arguments.watch), arguments.device)))
        _tell(areas, run)


def _tell(areas: dict[str, float], run: Path) -> None:
    (run / "watched.json").write_text(json.dumps(areas, indent=1) + "\n", encoding="utf-8")
    log.info("held-out pairs: %s", ", ".join(f"{name} {area:.3f}" for name, area in areas.items()))


@torch.no_grad()
def softened(pairs: Pairs, seed: int, first: int, share: float = SOFTENED) -> Pairs:
    """A part of the pairs as the small model would have drawn them: through its autoencoder, with noise between."""
    device = pairs.sound.device
    u = uniforms(seed, torch.arange(len(pairs.kind), device=device) + first, 2, stream=62)
    rows = torch.nonzero(u[:, 0] < share)[:, 0]
    if not len(rows):
        return pairs
    vae = _autoencoder(str(device))
    generator = torch.Generator(device).manual_seed(first)
    found = []
    for crops in (pairs.sound, pairs.malformed):
        crops = crops.clone()
        for some in rows.split(32):
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                latents = vae.encode(crops[some] * 2 - 1).latents
                noise = torch.randn(latents.shape, generator=generator, device=device)
                latents = latents + noise * latents.std() * (0.25 * u[some, 1] ** 2)[:, None, None, None]
                crops[some] = (vae.decode(latents).sample.float() / 2 + 0.5).clamp(0, 1)
        found.append(crops)
    return Pairs(found[0], found[1], pairs.wrong, pairs.kind)


@functools.lru_cache(maxsize=1)
def _autoencoder(device: str):
    return load_mini(device=device).vae


def drawn_for(seed: int, seconds: float, pairs: int, chunk: int, size: int, device: str) -> list[Pairs]:
    """Pairs in memory: so many, or as many as the seconds give."""
    began, found, number = time.monotonic(), [], 0
    while sum(len(part.kind) for part in found) < pairs and (not found or time.monotonic() - began < seconds):
        index = torch.arange(chunk, device=device) + number * chunk
        found.append(in_bytes(softened(draw_pairs(seed, index, size=size), seed, number * chunk)))
        number += 1
    log.info("%d pairs after %.0f s", sum(len(part.kind) for part in found), time.monotonic() - began)
    return found


def drawn_of_test(kind: str, seconds: float, chunk: int, size: int, device: str) -> list[Pairs]:
    began, found, number = time.monotonic(), [], 0
    while not found or time.monotonic() - began < seconds:
        index = torch.arange(chunk) + number * chunk + 5_000_000
        found.append(in_bytes(draw_test_pairs(SEED, index, kind, device, size=size)))
        number += 1
    log.info("%d pairs of %s after %.0f s", sum(len(part.kind) for part in found), kind, time.monotonic() - began)
    return found


def _together(arguments: argparse.Namespace) -> None:
    run, device, chunk, size = Path(arguments.run), arguments.device, arguments.chunk, arguments.size
    parts = drawn_for(SEED, arguments.draw_seconds, arguments.pairs, chunk, size, device)
    watched = Pool(drawn_for(HELD_OUT, 6, 1_000, chunk, size, device))
    options = {"device": device, "batch": arguments.batch}
    network = train(Pool(parts), run, steps=arguments.steps, seconds=arguments.train_seconds, **options)
    _tell(watch(network, watched), run)
    if not arguments.tune_seconds:
        return
    others = {kind: drawn_of_test(kind, arguments.tune_seconds, 96, size, device) for kind in KINDS}
    for left_out in KINDS:
        shown = [part for kind, some in others.items() if kind != left_out for part in some]
        few = parts[:: max(1, len(parts) // max(1, len(shown)))]
        train(
            Pool(few + shown), run / f"without_{left_out}", steps=arguments.steps, seconds=arguments.tune_seconds,
            start=run / "network.safetensors", rate=RATE / 3, about={"left out": left_out}, **options,
        )  # fmt: skip


def _publish(arguments: argparse.Namespace) -> None:
    WEIGHTS_FILE.write_bytes((Path(arguments.run) / "network.safetensors").read_bytes())


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = found.add_subparsers(required=True)
    first = commands.add_parser("draw", help="draw pairs; a GPU draws hundreds a second, a core of a CPU about three")
    first.add_argument("pool")
    first.add_argument("--pairs", type=int, default=24_000)
    first.add_argument("--device", default="cpu")
    first.add_argument("--seconds", type=float, default=float("inf"))
    first.add_argument("--chunk", type=int, default=64, help="scenes drawn at once; another chunk is another pool")
    first.add_argument("--size", type=int, default=256, help="side of the pictures, pixels")
    first.add_argument("--soft", type=float, default=SOFTENED, help="share that goes through the autoencoder; slow")
    first.add_argument("--first", type=int, default=0, help="number of the first part, so that several draw at once")
    first.add_argument("--plain", action="store_true", help="as the small model's pictures are, see draw_whole")
    first.add_argument("--kinds", nargs="+", default=TRAINING_KINDS, choices=TRAINING_KINDS)
    first.add_argument("--held-out", action="store_true", help="other scenes, to watch the training on")
    first.set_defaults(call=_draw)
    second = commands.add_parser("train", help="train on a pool")
    second.add_argument("pool", help="a folder; of caches also several with commas between")
    second.add_argument("run")
    second.add_argument("--steps", type=int, default=6_000)
    second.add_argument("--batch", type=int, default=BATCH, help="pairs")
    second.add_argument("--device", default="cpu")
    second.add_argument("--seconds", type=float, default=float("inf"))
    second.add_argument("--cached", action="store_true", help="POOL is a folder that the command cache made")
    second.add_argument("--start", help="a network to go on from")
    second.add_argument("--watch", help="a pool of held-out pairs to measure on at the end")
    second.set_defaults(call=_train)
    both = commands.add_parser("together", help="draw and train with the pool in memory")
    both.add_argument("run")
    both.add_argument("--device", default="cuda")
    both.add_argument("--pairs", type=int, default=40_000)
    both.add_argument("--steps", type=int, default=100_000)
    both.add_argument("--batch", type=int, default=BATCH, help="pairs")
    both.add_argument("--chunk", type=int, default=256, help="scenes drawn at once")
    both.add_argument("--size", type=int, default=256, help="side of the pictures, pixels")
    both.add_argument("--draw-seconds", type=float, default=80)
    both.add_argument("--train-seconds", type=float, default=80)
    both.add_argument("--tune-seconds", type=float, default=6, help="for each of the four kinds; 0: none of them")
    both.set_defaults(call=_together)
    kept = commands.add_parser("cache", help="what the landmark network sees of a pool, for training on a CPU")
    kept.add_argument("pool")
    kept.add_argument("cache")
    kept.add_argument("--versions", type=int, default=2)
    kept.add_argument("--seconds", type=float, default=float("inf"))
    kept.set_defaults(call=lambda found: cache(Path(found.pool), Path(found.cache), found.versions, found.seconds))
    third = commands.add_parser("publish", help="take a run's network for the one that ships")
    third.add_argument("run")
    third.set_defaults(call=_publish)
    return found


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    chosen = parser().parse_args()
    chosen.call(chosen)
