"""The run: samples, learning rates, every arm, two hands, repair; then what is lighter and what lies beyond."""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
import time
from pathlib import Path
from typing import Any

import torch

from handrawer.adapter.inputs import HandInputs
from handrawer.mini.picture import make_skin
from handrawer.train.data import keep_drawn, make_samples
from handrawer.train.run import machine, pick_device

from .base import Guide, load_base
from .config import AblationConfig
from .judging import Judge
from .poses import held_out, truth, two_hand_poses
from .repair import compare_repair
from .sampling import draw, encode, to_bytes
from .training import Recipe, Stack, mask_weight
from .variants import ARMS, AdapterGuide, learned_parameters, make_guide
from .workshop import Workshop

log = logging.getLogger("handrawer")
DRAWING_SHARE = 0.75  # of an arm's time for drawing that the planning counts on top of its measured training
TWO_HAND_ARMS = ("full", "geometry", "t2i")


def open_workshop(config: AblationConfig, out: Path, started: float, device: str) -> Workshop:
    """Everything before the first arm: base, judge, training samples, held-out poses and their true pictures."""
    out.mkdir(parents=True, exist_ok=True)
    chosen = pick_device(device)
    if chosen.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
    judge = Judge(config.workers)
    base = load_base(chosen)
    log.info("base loaded, %.0f s on the clock", time.time() - started)
    on_gpu = chosen.type == "cuda"
    skin = make_skin(base.model)
    samples = make_samples(1, config.samples, base.model, skin, base.pipe.vae, 128 if on_gpu else 8)
    samples = keep_drawn(samples, base.model, 128, 256 if on_gpu else 8)
    log.info("%d samples, %.0f s on the clock", len(samples), time.time() - started)
    poses = held_out(config.poses, base.model)
    shop = Workshop(config, base, judge, samples, poses, out, started)
    shop.note(machine=machine(), config=config.__dict__ | {"arms": list(config.arms)})
    return shop


def show_truth(shop: Workshop) -> None:
    """The wanted pictures, the same through the VAE, text alone, and the adapter that ships."""
    pictures = truth(shop.config.poses, shop.base.model)
    shop.judge.look("render", to_bytes(pictures))
    shop.show("ceiling", encode(shop.base, pictures))
    options = drawing(shop.config)
    text = draw(shop.base, None, shop.poses, **options)
    shop.guides["text latents"] = text
    shop.show("text", text)
    shop.guides["shipped"] = AdapterGuide(shop.base.pipe.adapter)
    shop.show("shipped", draw(shop.base, shop.guides["shipped"], shop.poses, **options))


def drawing(config: AblationConfig) -> dict[str, Any]:
    """How every arm is drawn."""
    return {"steps": config.sampling_steps, "guidance": config.guidance, "chunk": config.chunk}


def try_rates(shop: Workshop, arm: str, tried: tuple[float, ...]) -> tuple[list[float], float]:
    """Losses at the end of a short training of one arm at several learning rates, and the seconds of a step."""
    config = shop.config
    seeds = (config.seeds[0],) * len(tried)  # the same samples and first weights: only the rate differs
    recipe = Recipe(seeds, tried, config.batch, config.trial_steps, config.warmup, drop_text=config.drop_text)
    stack = Stack(shop.base, lambda: make_guide(arm, shop.base), recipe)
    first = stack.train_step(shop.samples)
    log.info("%s: first losses %s", arm, {k: v.tolist() for k, v in first.items()})
    began = time.monotonic()
    total = torch.zeros(len(tried), device=shop.base.device)
    for step in range(1, config.trial_steps):
        losses = stack.train_step(shop.samples)
        if step >= config.trial_steps * 2 // 3:
            total += losses["denoising"] + losses["second"]
    found = total.tolist()
    return found, (time.monotonic() - began) / max(1, config.trial_steps - 1)


def choose_rates(shop: Workshop) -> tuple[dict[str, float], dict[str, float]]:
    """For each kind of network the best of the learning rates in a short trial, and seconds a step of its arms."""
    config = shop.config
    tried = {"adapter": config.rates, "t2i": config.rates, "control": config.control_rates}
    rates = {network: values[len(values) // 2] for network, values in tried.items()}  # where a trial fails
    seconds: dict[str, float] = {}
    trials: dict[str, dict[str, float]] = {}

    def trial(network: str) -> None:
        found, seconds[network] = try_rates(shop, "full" if network == "adapter" else network, tried[network])
        finite = [value if math.isfinite(value) else math.inf for value in found]
        rates[network] = tried[network][finite.index(min(finite))]
        trials[network] = dict(zip(map(str, tried[network]), found, strict=True))
        log.info("%s: %.1f ms a step, trials %s", network, 1000 * seconds[network], trials[network])

    for network in tried:
        shop.attempt(f"trial {network}", functools.partial(trial, network))
    slowest = max(seconds.values(), default=0.1)
    seconds = {network: seconds.get(network, 1.5 * slowest) for network in tried}
    shop.note(rates=rates, trials=trials, seconds_per_step=seconds)
    return rates, seconds


def plan_steps(shop: Workshop, seconds: dict[str, float], arms: list[str], drawing_seconds: float) -> int:
    """Steps of every arm, so that all of them end in time: what is left, less drawing and recording, over a step of
    every arm."""
    if shop.config.steps is not None:
        return shop.config.steps
    rest = 0.94 * shop.left(shop.config.ablation_seconds) - len(arms) * (drawing_seconds + 3.0) - 10.0
    return max(20, int(rest / sum(seconds[ARMS[name].network] for name in arms)))


def train_arm(shop: Workshop, name: str, rate: float, steps: int, weight: float) -> None:
    """Train the copies of an arm, draw the held-out poses with each."""
    config, arm = shop.config, ARMS[name]
    seeds = config.seeds
    recipe = Recipe(
        seeds, (rate,) * len(seeds), config.batch, steps, config.warmup, arm.loss, config.hand_weight, weight,
        config.drop_text,
    )  # fmt: skip
    began = time.monotonic()
    stack = Stack(shop.base, lambda: make_guide(name, shop.base), recipe)
    curve = stack.train(shop.samples)
    trained = time.monotonic() - began
    stack.optimizer.zero_grad(set_to_none=True)
    del stack.gradients  # the recorded graph and its memory
    guides = [guide.eval() for guide in stack.guides]
    for seed, guide in zip(seeds, guides, strict=True):
        assert isinstance(guide, Guide)
        shop.show(f"{name}.{seed}", draw(shop.base, guide, shop.poses, **drawing(config)))
    shop.results.setdefault("arms", {})[name] = {
        "title": arm.title, "rate": rate, "steps": steps, "parameters": learned_parameters(stack.guides[0]),
        "curve": curve, "train_seconds": round(trained, 2), "total_seconds": round(time.monotonic() - began, 2),
    }  # fmt: skip
    if name in (*TWO_HAND_ARMS, "control"):
        shop.guides[name] = guides
    log.info("%s: losses %s", name, [[round(v, 4) for v in row] for row in curve])


def ablation(shop: Workshop) -> None:
    """Every arm, in the order of the configuration, as far as the clock goes."""
    config = shop.config
    rates, seconds = choose_rates(shop)
    arms = list(config.arms)
    timed = time.monotonic()
    shop.attempt("truth", lambda: show_truth(shop))
    # Truth, text and the shipped adapter draw twice 512 pictures; an arm draws three times as many.
    per_arm = (time.monotonic() - timed) * DRAWING_SHARE
    steps = plan_steps(shop, seconds, arms, per_arm)
    shop.note(steps=steps, drawing_seconds=per_arm)
    log.info("%d steps for each of %d arms, %.1f s to draw", steps, len(arms), per_arm)
    weight = 0.0
    for name in arms:
        network = ARMS[name].network
        needed = seconds[network] * steps + per_arm
        if config.steps is None and shop.left(config.ablation_seconds) < 0.8 * needed:
            log.warning("no time for %s: %.0f s are left to the arms", name, shop.left(config.ablation_seconds))
            shop.results.setdefault("left_out", []).append(name)
            continue
        if ARMS[name].loss == "mask":
            full = shop.guides["full"][0]
            recipe = Recipe((config.seeds[0],), (0.0,), config.batch, 1, 1, hand_weight=config.hand_weight)
            weight = mask_weight(shop.base, full.train(), shop.samples, recipe)
            full.eval()
            shop.note(mask_weight=weight)
        shop.attempt(name, functools.partial(train_arm, shop, name, rates[network], steps, weight))


def two_hands_stage(shop: Workshop) -> None:
    """Pictures of two hands, which neither base nor arms have seen: by visibility, and without it."""
    config = shop.config
    poses = two_hand_poses(config.two_hand_poses, shop.base.model)
    options = drawing(config)
    for name in TWO_HAND_ARMS:
        for seed, guide in zip(config.seeds, shop.guides.get(name, []), strict=False):
            shop.show(f"two.{name}.{seed}", draw(shop.base, guide, poses, **options))
    shop.show("two.shipped", draw(shop.base, shop.guides["shipped"], poses, **options))
    blind = type(poses)(poses.tokens, _without_visibility(poses.inputs), poses.noise)
    for seed, guide in zip(config.seeds, shop.guides.get("full", []), strict=False):
        shop.show(f"two.blind.{seed}", draw(shop.base, guide, blind, **options))
    shop.show("two.text", draw(shop.base, None, poses, **options))


def _without_visibility(inputs: HandInputs) -> HandInputs:
    return dataclasses.replace(inputs, alone=True)


def run(config: AblationConfig, out: Path, started: float, device: str) -> Workshop:
    """Everything; whatever the clock cuts off is missing from the results and named in the log."""
    from benchmarks.beyond.machine import machine_part
    from benchmarks.beyond.zero_shot import zero_shot
    from benchmarks.lighter.distill import distill
    from benchmarks.lighter.stored import stored_types

    shop = open_workshop(config, out, started, device)
    shop.attempt("ablation", lambda: ablation(shop))
    stages = (
        ("two hands", lambda: two_hands_stage(shop), 20),
        ("zero-shot", lambda: zero_shot(shop), 25),
        ("repair", lambda: compare_repair(shop), 25),
        ("distillation", lambda: distill(shop), 45),
        ("stored types", lambda: stored_types(shop), 20),
        ("machine part", lambda: machine_part(shop), 35),
    )
    for name, stage, needed in stages:
        if shop.left() < needed:
            log.warning("no time for %s: %.0f s are left", name, shop.left())
            shop.results.setdefault("left_out", []).append(name)
            continue
        shop.attempt(name, stage)
    missing = shop.judge.gather(out / "detections.npz", max(0.0, shop.left() - 6), last=True)
    if missing:
        log.warning("the detector did not come to the end of %d names", missing)
    shop.write_latents()
    shop.write()
    shop.judge.close()
    log.info("done, %.0f s on the clock", time.time() - started)
    return shop
