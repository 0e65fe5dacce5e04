"""A machine part through the same graph network, fusion and padding, on the small model's frozen base.

The base has seen hands and nothing else, and stays frozen: whatever of the gripper appears is the adapter's doing.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from typing import Any

import torch
from torch import Tensor

from benchmarks.ablation.poses import Poses, noise_of
from benchmarks.ablation.run import drawing
from benchmarks.ablation.sampling import draw, encode
from benchmarks.ablation.training import Recipe, Stack
from benchmarks.ablation.variants import AdapterGuide, learned_parameters, make_adapter
from benchmarks.ablation.workshop import Workshop
from handrawer.adapter.handrawer import HanDrawer
from handrawer.adapter.inputs import join_inputs
from handrawer.hand.model import HandModel
from handrawer.mini.modules import tokenize
from handrawer.train.data import WORDINGS, Drawn, Samples
from handrawer.train.state import load_state, save_state

from .gripper import (
    CLUSTERS,
    LIMITS,
    GripperScene,
    coverage,
    draw_pictures,
    draw_scenes,
    make_gripper,
    pose_gripper,
    scene_inputs,
)
from .probe import Probe, fit_probe

log = logging.getLogger("handrawer")
TRAINING_SEED, HELD_OUT_SEED = 61, 62
COPIES = (21, 22, 23)
GRID = 9  # angles tried along each joint's range
READ = 96  # pictures whose pose is read


def make_set(shop: Workshop, seed: int, count: int, model: HandModel, chunk: int) -> Samples:
    """Encoded pictures of the gripper with what the adapter is told of each."""
    base, device = shop.base, shop.base.device
    latents, tokens, drawn, masks = [], [], [], []
    path = shop.out / f"latents_{seed}.pt"
    known = (load_state(path, device) or {}).get("latents", torch.zeros(0))
    for first in range(0, count, chunk):
        scene = draw_scenes(seed, torch.arange(first, min(first + chunk, count), device=device), model)
        here = known[first : first + chunk] if len(known) == count else None
        latents.append(encode(base, draw_pictures(scene, model)).half() if here is None else here)
        ids = tokenize(base.pipe.tokenizer, scene.prompts()).to(device, torch.uint8)
        tokens.append(ids[:, None].expand(-1, WORDINGS, -1))
        inputs = scene_inputs(scene, model)
        drawn.append(dataclasses.replace(inputs, geometry=inputs.geometry.half(), visible=inputs.visible[:, :1, :1]))
        masks.append(coverage(scene, scene.posed.vertices, model.faces)[:, None].half())
    save_state(path, {"latents": torch.cat(latents)})  # the next call goes on with them
    sizes = torch.cat([part.sizes for part in drawn])
    every = torch.arange(count, device=device)
    kept = Drawn(join_inputs(drawn, every, sizes), torch.cat(masks))
    return Samples(seed, torch.cat(latents), torch.cat(tokens), every[:0], kept)


def overlap(found: Tensor, wanted: Tensor) -> Tensor:
    """Intersection over union [N] of maps [N, h, w] at one half."""
    a, b = found > 0.5, wanted > 0.5
    return (a & b).flatten(1).sum(1) / (a | b).flatten(1).sum(1).clamp_min(1)


def read_angles(scene: GripperScene, masks: Tensor, model: HandModel) -> Tensor:
    """The jaws' angles [N, 4] whose silhouette fits masks [N, h, w] best (place and view are known), by trying all
    of a grid: GRID^2 poses of each jaw, every pair of them."""
    device, count = masks.device, len(masks)
    first, second = (torch.linspace(*limit, GRID, device=device) for limit in LIMITS)
    pairs = torch.cartesian_prod(first, second)
    tried = len(pairs)
    jaw_of = (model.parts[model.faces[:, 0]][:, None] >= torch.tensor([0, 4, 10], device=device)).sum(1)
    shapes = []
    for jaw in range(3):  # the block, then each jaw alone in all of its poses
        some = pairs if jaw else pairs[:1]
        angles = torch.cat([some, some], 1).repeat(count, 1)
        repeated = _repeated(scene, len(some))
        vertices = pose_gripper(model, angles, repeated.orientation, repeated.translation).vertices
        parts = []
        for rows in torch.arange(len(vertices), device=device).split(4096):
            faces = model.faces[jaw_of == jaw + 1]
            parts.append(coverage(_chosen(repeated, rows), vertices[rows], faces, masks.shape[-1]) > 0.5)
        shapes.append(torch.cat(parts).unflatten(0, (count, len(some))))
    found = []
    for block, left, right, mask in zip(*shapes, masks > 0.5, strict=True):
        drawn = block[0] | left[:, None] | right[None]
        score = (drawn & mask).flatten(2).sum(2) / (drawn | mask).flatten(2).sum(2).clamp_min(1)
        best = score.flatten().argmax()
        found.append(torch.cat([pairs[best // tried], pairs[best % tried]]))
    return torch.stack(found)


def _chosen(scene: GripperScene, rows: Tensor) -> GripperScene:
    posed = dataclasses.replace(scene.posed, **{f.name: getattr(scene.posed, f.name)[rows]
                                                for f in dataclasses.fields(scene.posed)})  # fmt: skip
    values = {f.name: getattr(scene, f.name)[rows] for f in dataclasses.fields(scene) if f.name != "posed"}
    return GripperScene(**values, posed=posed)


def _repeated(scene: GripperScene, times: int) -> GripperScene:
    rows = torch.arange(len(scene.index), device=scene.index.device).repeat_interleave(times)
    return _chosen(scene, rows)


def measure(latents: Tensor, scene: GripperScene, probe: Probe, model: HandModel) -> dict[str, Any]:
    """Overlap with the wanted silhouette and with another sample's, and the error of the angles that are read."""
    masks = probe(latents)[:, 0]
    wanted = coverage(scene, scene.posed.vertices, model.faces)
    few = torch.arange(min(READ, len(latents)), device=latents.device)
    some = _chosen(scene, few)
    error = (read_angles(some, masks[few], model) - some.angles).abs().rad2deg()
    return {
        "overlap": overlap(masks, wanted).tolist(),
        "overlap with another": overlap(masks, wanted.roll(-1, 0)).tolist(),
        "degrees": error.tolist(),
    }


@dataclasses.dataclass(frozen=True)
class Way:
    """How an adapter is told of the gripper: `options` and `changes` as in ablation.variants, its learning rate."""

    title: str
    rate: float
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    changes: dict[str, Any] = dataclasses.field(default_factory=dict)


# Box only has the parameters of the other, as in the ablation; without geometry to hold on to it wants a lower rate.
WAYS = {
    "adapter": Way("the gripper's mesh and geometry", 4e-3),
    "box": Way("box only", 1e-3, {"tokens": "none", "geometry": False}, {"mlp_ratio": 3.25}),
}


def train_way(shop: Workshop, way: Way, gripper: HandModel, samples: Samples, seconds: float) -> Stack:
    """Copies of a new adapter, to be trained for `machine_steps` or so many seconds, of which the first step, which is
    recorded, is none."""
    config, base, seeds = shop.config, shop.base, COPIES[: len(shop.config.seeds)]

    def build() -> AdapterGuide:
        adapter = make_adapter(HanDrawer, base.description, gripper, CLUSTERS, **way.changes)
        return AdapterGuide(adapter, **way.options)

    rates = (way.rate,) * len(seeds)
    recipe = Recipe(seeds, rates, config.batch, 10**9, config.warmup, drop_text=config.drop_text)
    stack = Stack(base, build, recipe)
    steps = config.machine_steps
    if steps is None:
        per_step = stack.seconds_per_step(samples, 4)
        steps = stack.step + max(10, int(seconds / per_step))
    stack.recipe = dataclasses.replace(recipe, steps=steps)
    return stack


def machine_part(shop: Workshop, reserve: float | None = None, ways: tuple[str, ...] = tuple(WAYS)) -> None:
    """Draw the set, train the adapter and one that knows the box alone, draw held-out poses, read what was drawn.

    What an earlier call found of other ways is kept.

    reserve: seconds of the call that are kept for drawing and reading; training takes the others. None: it takes
        `machine_seconds`.
    """
    config, base = shop.config, shop.base
    chunk = 128 if base.device.type == "cuda" else 8
    gripper = make_gripper()
    model = gripper.to(base.device)
    began = time.monotonic()
    samples = make_set(shop, TRAINING_SEED, config.machine_samples, model, chunk)
    log.info("%d grippers in %.1f s", len(samples), time.monotonic() - began)
    index = torch.arange(config.machine_poses, device=base.device)
    scene = draw_scenes(HELD_OUT_SEED, index, model)
    truth = encode(base, draw_pictures(scene, model))
    assert samples.drawn is not None
    probe = fit_probe(samples.latents.float(), samples.drawn.mask.float())
    tokens = tokenize(base.pipe.tokenizer, scene.prompts()).to(base.device)
    poses = Poses(tokens, scene_inputs(scene, model), noise_of(range(len(index))).to(base.device))
    earlier = shop.results.get("machine_part", {})
    found: dict[str, Any] = dict(earlier.get("found", {}))

    def judge(name: str, latents: Tensor) -> None:
        shop.show(f"machine.{name}", latents, judged=False)
        found[name] = measure(latents, scene, probe, model)
        log.info("%s: overlap %.3f", name, torch.tensor(found[name]["overlap"]).mean())

    if not found:
        judge("ceiling", truth)
        judge("text", draw(base, None, poses, **drawing(config)))
    trained: dict[str, Any] = dict(earlier.get("trained", {}))
    for place, name in enumerate(ways):
        way = WAYS[name]
        whole = config.machine_seconds if reserve is None else shop.left() - reserve
        # What is left is shared by the ways that are still to be trained.
        seconds = whole / 2 if reserve is None else whole / (len(ways) - place)
        stack = train_way(shop, way, gripper, samples, seconds)
        curve = stack.train(samples)
        del stack.gradients
        trained[name] = {"title": way.title, "steps": stack.step, "rate": way.rate, "curve": curve,
                         "parameters": learned_parameters(stack.guides[0])}  # fmt: skip
        for seed, guide in zip(stack.recipe.seeds, stack.copies(), strict=True):
            judge(f"{name}.{seed}", draw(base, guide.eval(), poses, **drawing(config)))
        del stack
        shop.tidy()
    explained = float(probe.share[0])
    shop.note(
        machine_part={
            "batch": config.batch,
            "pictures": len(samples),
            "trained": trained,
            "explained": explained,
            "found": found,
        }
    )
