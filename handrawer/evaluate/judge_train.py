"""Trains the judge's network on synthetic hands, sound and malformed.

    python -m handrawer.evaluate.judge_train draw POOL --pairs 24000 [--device cuda] [--seconds 100]
    python -m handrawer.evaluate.judge_train cache POOL CACHE              # what the network is shown of them
    python -m handrawer.evaluate.judge_train train CACHE RUN --steps 6000
    python -m handrawer.evaluate.judge_train together RUN --device cuda    # all three, in a GPU's memory
    python -m handrawer.evaluate.judge_train publish RUN                   # writes judge_network.safetensors

``draw`` and ``cache`` write parts and go on where they were stopped; so does ``train``, from its last checkpoint.
``together`` also tunes four more networks, each shown three of the test's four kinds, for the report alone.
"""

from __future__ import annotations

import argparse
import functools
import json
import logging
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from ..mini.pipeline import load_mini
from ..mini.random_table import uniforms
from .judge_network import WEIGHTS_FILE, JudgeNetwork, Seen, about_network, load_network, save_network, seen_in
from .judge_pool import SEED, Cache, Pool, cache, in_bytes, read_cache, read_pairs, save_pairs, seen_of
from .judge_scenes import TRAINING_KINDS, Pairs, draw_pairs, draw_test_pairs
from .malformed import KINDS

log = logging.getLogger("handrawer")

HELD_OUT = 304  # of the pairs that the training is watched on
BATCH = 64  # pairs
RATE, DECAY = 2e-3, 1e-3
HEAT_WEIGHT, HEAT_POSITIVE = 0.5, 4.0
AVERAGE = 0.998
SOFTENED = 0.35  # share of the pairs that go through the small model's autoencoder


def draw(
    folder: Path, pairs: int, device: str, *, seconds: float, chunk: int, size: int, seed: int = SEED,
    kinds: tuple[str, ...] = TRAINING_KINDS, soft: float = SOFTENED, first: int = 0,
    plain: bool = False, test_kind: str | None = None,
) -> int:  # fmt: skip
    """Draw until there are so many pairs or the time is over; returns how many there are.

    test_kind: one of ``malformed.KINDS``, in place of ``kinds``.
    """
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
            if test_kind:
                drawn = draw_test_pairs(seed, index, test_kind, device, size=size)
            else:
                drawn = draw_pairs(seed, index, kinds, size=size, plain=plain)
            drawn = softened(drawn, seed, number * chunk, soft)
            save_pairs(drawn, path)
            have += len(drawn.kind)
        number += 1
    log.info("%d pairs in %s after %.0f s", have, folder, time.monotonic() - started)
    return have


def loss_of(sound: Tensor, where: Tensor, good: Tensor, wrong: Tensor) -> Tensor:
    whole = F.binary_cross_entropy_with_logits(sound, 0.02 + 0.96 * good)
    target = (wrong * 2).clamp(0, 1)
    cells = F.binary_cross_entropy_with_logits(where, target, weight=1 + (HEAT_POSITIVE - 1) * target)
    return whole + HEAT_WEIGHT * cells


def train(
    pool: Cache, run: Path, *, steps: int, device: str, seconds: float, batch: int = BATCH,
    start: Path | None = None, about: dict[str, object] | None = None, rate: float = RATE, save_every: float = 60,
    short: bool | None = None,
) -> JudgeNetwork:  # fmt: skip
    """Train, from the run's checkpoint where there is one; returns the averaged network.

    The rate falls with the steps or the time, whichever ends sooner. A checkpoint is written every ``save_every``
    seconds.

    short: compute in bfloat16, which saves a third of the time on processors that know it; None: on a GPU.
    """
    run.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    short = device.startswith("cuda") if short is None else short
    network = (load_network(start) if start else JudgeNetwork()).to(device).train()
    network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
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
        u = uniforms(SEED + 1, torch.arange(2 * batch, device=device) + 2 * batch * step, 1, stream=61)
        losses.append(_step(network, optimiser, pool.batch(rows, u), short))
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
    told = (
        {"pairs": len(pool), "steps": step, "batch": batch, "kinds": pool.kinds} | _started_from(start) | (about or {})
    )
    save_network(final, run / "network.safetensors", told)
    return final.eval()


def _started_from(path: Path | None) -> dict[str, object]:
    """What the network that a training goes on from says of itself; all kinds that one of the two has seen count."""
    return {} if path is None else {"before": about_network(path)}


def _step(
    network: JudgeNetwork, optimiser: torch.optim.Optimizer, batch: tuple[Seen, Tensor, Tensor], short: bool
) -> Tensor:
    seen, good, wrong = batch
    fine, coarse, drawn = (part.contiguous(memory_format=torch.channels_last) for part in seen)
    with torch.autocast(good.device.type, torch.bfloat16, enabled=short):
        sound, where = network((fine, coarse, drawn))
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
         first=arguments.first, plain=arguments.plain, kinds=tuple(arguments.kinds),
         test_kind=arguments.test_kind)  # fmt: skip


def _train(arguments: argparse.Namespace) -> None:
    run = Path(arguments.run)
    network = train(
        read_cache(*map(Path, arguments.cache)), run, steps=arguments.steps, device="cpu", seconds=arguments.seconds,
        batch=arguments.batch, start=Path(arguments.start) if arguments.start else None, rate=arguments.rate,
        short=arguments.short,
    )  # fmt: skip
    if arguments.watch:
        _tell(watch(network, Pool(read_pairs(Path(arguments.watch), "cpu"))), run)


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

    def seen(parts: list[Pairs], first: int) -> list[dict[str, Tensor]]:
        return [seen_of(part, first + number, 1, 64) for number, part in enumerate(parts)]

    parts = seen(drawn_for(SEED, arguments.draw_seconds, arguments.pairs, chunk, size, device), 0)
    watched = Pool(drawn_for(HELD_OUT, 6, 1_000, chunk, size, device))
    options = {"device": device, "batch": arguments.batch}
    network = train(Cache(list(parts)), run, steps=arguments.steps, seconds=arguments.train_seconds, **options)
    _tell(watch(network, watched), run)
    if not arguments.tune_seconds:
        return
    others = {}
    for number, kind in enumerate(KINDS):
        others[kind] = seen(drawn_of_test(kind, arguments.tune_seconds, 96, size, device), 1_000_000 * (number + 1))
    for left_out in KINDS:
        shown = [part for kind, some in others.items() if kind != left_out for part in some]
        few = parts[:: max(1, len(parts) // max(1, len(shown)))]
        train(
            Cache(few + shown), run / f"without_{left_out}", steps=arguments.steps, seconds=arguments.tune_seconds,
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
    first.add_argument("--test-kind", choices=KINDS, help="pairs of one of the test's kinds instead")
    first.add_argument("--held-out", action="store_true", help="other scenes, to watch the training on")
    first.set_defaults(call=_draw)
    second = commands.add_parser("train", help="train on what cache wrote")
    second.add_argument("cache", nargs="+")
    second.add_argument("run")
    second.add_argument("--steps", type=int, default=6_000)
    second.add_argument("--batch", type=int, default=BATCH, help="pairs")
    second.add_argument("--seconds", type=float, default=float("inf"))
    second.add_argument("--rate", type=float, default=RATE, help="of learning, at the beginning")
    second.add_argument("--start", help="a network to go on from")
    second.add_argument("--short", action="store_true", help="compute in bfloat16, for processors that know it")
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
    kept = commands.add_parser("cache", help="what the network is shown of a pool")
    kept.add_argument("pool")
    kept.add_argument("cache")
    kept.add_argument("--versions", type=int, default=1)
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
