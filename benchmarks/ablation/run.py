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

from handrawer.mini.picture import make_skin
from handrawer.train.data import keep_drawn, make_samples
from handrawer.train.run import machine, pick_device

from .base import Guide, load_base
from .config import AblationConfig
from .judging import Judge
from .poses import Poses, held_out, truth, two_hand_poses
from .repair import compare_repair
from .resume import take_over
from .sampling import draw, encode, to_bytes
from .training import Recipe, Stack, mask_weight
from .variants import ARMS, AdapterGuide, learned_parameters, make_guide
from .workshop import Workshop

log = logging.getLogger("handrawer")
ARM_SECONDS = 14.0  # of an arm besides its steps: recording, drawing
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
    take_over(shop)
    shop.guides["shipped"] = AdapterGuide(base.pipe.adapter)
    shop.note(machine=machine())
    return shop


def show_truth(shop: Workshop) -> None:
    """The wanted pictures, the same through the VAE, text alone, and the adapter that ships."""
    pictures = truth(shop.config.poses, shop.base.model)
    shop.look("render", to_bytes(pictures))
    shop.show("ceiling", encode(shop.base, pictures))
    options = drawing(shop.config)
    shop.show("text", draw(shop.base, None, shop.poses, **options))
    shop.show("shipped", draw(shop.base, shop.guides["shipped"], shop.poses, **options))


def drawing(config: AblationConfig) -> dict[str, Any]:
    """How every arm is drawn."""
    return {"steps": config.sampling_steps, "guidance": config.guidance, "chunk": config.chunk}


def trials(config: AblationConfig) -> dict[str, tuple[str, tuple[float, ...]]]:
    """For each kind of network the arm on which its learning rate is tried, and the rates."""
    return {
        "adapter": ("full", config.rates),
        "t2i": ("t2i", config.rates),
        "control": ("control", config.control_rates),
        # Without geometry in place, the adapter's own rate makes a copy diverge.
        "tokens": ("gcn", tuple(rate / 4 for rate in config.rates)),
    }


def try_rates(shop: Workshop, network: str, arm: str, tried: tuple[float, ...]) -> None:
    """Takes the learning rate with the least loss at the end of a short training, and measures a step."""
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
    found = [value if math.isfinite(value) else math.inf for value in total.tolist()]
    seconds = (time.monotonic() - began) / max(1, config.trial_steps - 1)
    shop.results.setdefault("rates", {})[network] = tried[found.index(min(found))]
    shop.results.setdefault("trials", {})[network] = dict(zip(map(str, tried), found, strict=True))
    shop.results.setdefault("seconds_per_step", {})[network] = seconds
    log.info("%s: %.1f ms a step, trials %s", network, 1000 * seconds, shop.results["trials"][network])


def train_arm(shop: Workshop, name: str) -> None:
    """Train the copies of an arm, draw the held-out poses with each, and what else wants a trained arm."""
    config, arm = shop.config, ARMS[name]
    seeds, rate = config.seeds, shop.results["rates"][arm.network]
    weight = shop.results["mask_weight"] if arm.loss == "mask" else 0.0
    recipe = Recipe(
        seeds, (rate,) * len(seeds), config.batch, config.steps, config.warmup, arm.loss, config.hand_weight, weight,
        config.drop_text,
    )  # fmt: skip
    began = time.monotonic()
    stack = Stack(shop.base, lambda: make_guide(name, shop.base), recipe)
    curve = stack.train(shop.samples)
    trained = time.monotonic() - began
    stack.optimizer.zero_grad(set_to_none=True)
    del stack.gradients  # the recorded graph and its memory
    guides = stack.copies()
    for seed, guide in zip(seeds, guides, strict=True):
        shop.show(f"{name}.{seed}", draw(shop.base, guide.eval(), shop.poses, **drawing(config)))
    shop.results.setdefault("arms", {})[name] = {
        "title": arm.title, "rate": rate, "steps": config.steps, "parameters": learned_parameters(guides[0]),
        "curve": curve, "train_seconds": round(trained, 2), "total_seconds": round(time.monotonic() - began, 2),
    }  # fmt: skip
    log.info("%s: losses %s", name, [[round(v, 4) for v in row] for row in curve])
    if name in TWO_HAND_ARMS:
        draw_two_hands(shop, name, dict(zip(seeds, guides, strict=True)))
    if name == "full":
        found = mask_weight(shop.base, guides[0].train(), shop.samples, dataclasses.replace(recipe, seeds=seeds[:1]))
        shop.note(mask_weight=found)
    if name == "control":
        compare_repair(shop, {"control": guides[0]})


def draw_two_hands(shop: Workshop, name: str, guides: dict[int | None, Guide | None]) -> None:
    """Pictures of two hands, which neither base nor arms have seen in training; `blind`: by no visibility, where the
    features of overlapping boxes are simply added."""
    config = shop.config
    poses = two_hand_poses(config.two_hand_poses, shop.base.model)
    blind = Poses(poses.tokens, dataclasses.replace(poses.inputs, alone=True), poses.noise)
    for seed, guide in guides.items():
        end = "" if seed is None else f".{seed}"
        shop.show(f"two.{name}{end}", draw(shop.base, guide, poses, **drawing(config)))
        if name in ("full", "shipped"):
            shop.show(f"two.{name} blind{end}", draw(shop.base, guide, blind, **drawing(config)))


def run(config: AblationConfig, out: Path, started: float, device: str) -> Workshop:
    """Everything that is not done yet, as far as the clock goes."""
    shop = open_workshop(config, out, started, device)
    shop.stage("truth", lambda: show_truth(shop), 15)
    networks = {ARMS[name].network for name in config.arms}
    for network, (arm, tried) in trials(config).items():
        if network not in networks:
            continue
        shop.stage(f"trial {network}", functools.partial(try_rates, shop, network, arm, tried), 25)
    for name in config.arms:
        network = ARMS[name].network
        if network in shop.results.get("rates", {}) and (ARMS[name].loss != "mask" or "mask_weight" in shop.results):
            needed = 1.2 * config.steps * shop.results["seconds_per_step"][network] + ARM_SECONDS
            shop.stage(f"arm {name}", functools.partial(train_arm, shop, name), needed)
    if config.beyond:
        run_beyond(shop)
    missing = shop.judge.gather(out / "detections.npz", max(0.0, shop.left() - 6), last=True)
    if missing:
        log.warning("the detector did not come to the end of %d names: the next call draws them again", missing)
    shop.write_latents()
    shop.write()
    shop.judge.close()
    log.info("done, %.0f s on the clock", time.time() - started)
    return shop


def run_beyond(shop: Workshop) -> None:
    """What is asked of the adapter that ships and of the bare base."""
    from benchmarks.beyond.machine import machine_part
    from benchmarks.beyond.zero_shot import zero_shot
    from benchmarks.lighter.distill import distill
    from benchmarks.lighter.stored import stored_types

    config, shipped = shop.config, shop.guides["shipped"]
    shop.stage("two hands", lambda: draw_two_hands(shop, "shipped", {None: shipped}), 15)
    shop.stage("two hands, text", lambda: draw_two_hands(shop, "text", {None: None}), 10)
    shop.stage("zero-shot", lambda: zero_shot(shop), 20)
    shop.stage("repair", lambda: compare_repair(shop, {"adapter": shipped}), 20)
    shop.stage("stored types", lambda: stored_types(shop), 20)
    shop.stage("machine part", lambda: machine_part(shop), config.machine_seconds + 45)
    shop.stage("distillation", lambda: distill(shop), config.distill_seconds + 40)
