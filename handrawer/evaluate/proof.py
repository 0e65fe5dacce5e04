"""Whether HanDrawer draws the hand that was wanted: the small model's table, with its ceiling and its controls.

`python -m handrawer.evaluate.proof --out reports/proof` draws held-out synthetic poses with every arm, gives the
pictures to a hand detector that never saw training, and compares what it finds with the wanted hand:

* `render`: the ground-truth pictures themselves; `ceiling`: the same through the VAE, the best that the model can do.
* `handrawer`: the hand and the caption.
* `box and text`: the same adapter given the hand's box and the caption, neither mesh nor geometry.
* `another hand`: the hand of the next sample put into this one's box. It is scored against this sample's hand, where
  it must fail, and against the hand that was given (`another hand, as given`), which must be drawn.
* `text alone`: the same base without a hand. The base that ships was trained on text alone and is frozen; for one that
  learned together with its adapter, `--control FILE` adds a `control base` of equal size, data and steps that was
  trained on text alone. Neither knows where the hand is wanted, so they show what chance gives.

Every arm starts from the same noise. Scores are kept in `scores.json` as they come, and a second call goes on there.

A GPU draws in seconds what takes a CPU half an hour: `--draw FILE --device cuda` draws alone and keeps the latents in
FILE, and `--drawn FILE` scores them, on another machine if need be.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import logging
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..adapter.inputs import HandInputs, hand_inputs
from ..estimate.calibration import mediapipe_points_2d
from ..hand.hands import Hands
from ..hand.model import HandModel, load_open_hand
from ..mini.captions import Caption
from ..mini.control import read_control
from ..mini.picture import Skin, draw_pictures, make_skin
from ..mini.pipeline import MiniPipeline, load_mini
from ..mini.scene import draw_scenes, scene_hands
from ..render.pictures import save_picture, sheet
from .drawn import Drawn
from .score import MEDIAPIPE_JUDGE, Score, hand_box, score_picture, summarise

log = logging.getLogger("handrawer")
HELD_OUT_SEED = 1000  # training draws its scenes from seed 1
STEPS, GUIDANCE = 10, 2.0
CHUNK = 16
SHOWN = 8
GUIDANCE_RULES = ((1.0, "same"), (4.0, "same"), (4.0, "none"), (7.0, "same"), (7.0, "none"))
ARMS = (
    "render",
    "ceiling",
    "handrawer",
    "box and text",
    "another hand",
    "another hand, as given",
    "text alone",
    "control base",
)


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What a picture is scored against: points [21, 2] as MediaPipe marks them, box [4], side."""

    points: Tensor
    box: Tensor
    side: str


@dataclasses.dataclass(frozen=True)
class Poses:
    """A run of held-out samples: truth [n, H, W, 3], captions, hands, what is wanted, and the noise's seeds."""

    truth: Tensor
    captions: list[Caption]
    hands: Hands
    wanted: list[Wanted]
    seeds: list[int]

    @property
    def prompts(self) -> list[str]:
        return [caption.text() for caption in self.captions]


@functools.lru_cache(maxsize=2)
def _drawn_with(model: HandModel, device: str) -> tuple[HandModel, Skin]:
    """The hand and its skin on a device: the skin takes seconds to make."""
    there = model.to(device)
    return there, make_skin(there)


def held_out(first: int, count: int, model: HandModel, device: torch.device | str = "cpu") -> Poses:
    """The held-out samples first .. first + count - 1, on the CPU; `device` draws their pictures."""
    index = torch.arange(first, first + count)
    there, skin = _drawn_with(model, str(device))
    scene = draw_scenes(HELD_OUT_SEED, index, model)
    drawn = scene if there is model else draw_scenes(HELD_OUT_SEED, index.to(device), there)
    truth = draw_pictures(drawn, there, skin, seed=HELD_OUT_SEED).permute(0, 2, 3, 1).cpu()
    hands = scene_hands(scene, model)
    wanted = [
        Wanted(mediapipe_points_2d(hand, 256, 256), hand_box(hand, 256, 256), hand.side)
        for hand in (frame.hands[0] for frame in hands.frames)
    ]
    return Poses(truth, scene.captions(), hands, wanted, list(range(first, first + count)))


def moved_points(points: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """Points [P, 2] of a box [4] as they lie in another box [4], stretched to it."""
    share = (points - source[:2]) / (source[2:] - source[:2])
    return target[:2] + share * (target[2:] - target[:2])


@dataclasses.dataclass(frozen=True)
class Swap:
    """Every sample's box with the hand of the next sample in it."""

    inputs: HandInputs
    prompts: list[str]
    wanted: list[Wanted]


def swapped(poses: Poses, model: HandModel, raster: int) -> Swap:
    """The next sample's hand in each sample's box, and where its joints then are to lie.

    The caption names the side, gesture and view of the hand that is given and this sample's surroundings.
    """
    own = hand_inputs(poses.hands, model, raster)
    turn = torch.arange(len(own)).roll(-1)
    given = own.hand(turn)
    inputs = dataclasses.replace(given, box=own.box, picture=own.picture)
    captions, wanted = [], []
    for k, j in enumerate(turn.tolist()):
        other = poses.captions[j]
        captions.append(dataclasses.replace(poses.captions[k], side=other.side, gesture=other.gesture, view=other.view))
        points = moved_points(poses.wanted[j].points, own.box[j], own.box[k])
        corners = moved_points(poses.wanted[j].box.reshape(2, 2), own.box[j], own.box[k])
        wanted.append(Wanted(points, corners.reshape(4), other.side))
    return Swap(inputs, [caption.text() for caption in captions], wanted)


def draw_arms(pipe: MiniPipeline, control: MiniPipeline | None, poses: Poses, model: HandModel) -> dict[str, Tensor]:
    """The latents of every arm but `render`, [n, 4, h, w] float32 each, on the CPU."""
    options: dict[str, Any] = {"seeds": poses.seeds, "steps": STEPS, "guidance": GUIDANCE, "as_latents": True}
    swap = swapped(poses, model, pipe.adapter.config.raster)
    only = torch.ones(len(poses.seeds), dtype=torch.bool, device=pipe.device)
    truth = poses.truth.to(pipe.device)
    latents = {
        "ceiling": torch.cat([pipe.encode(part).float().cpu() for part in truth.split(8)]),
        "handrawer": pipe.sample(poses.prompts, poses.hands, **options),
        "box and text": pipe.sample(poses.prompts, poses.hands, residual_options={"box_only": only}, **options),
        "another hand": pipe.sample(swap.prompts, inputs=swap.inputs, **options),
        "text alone": pipe.sample(poses.prompts, **options),
    }
    if control is not None:
        latents["control base"] = control.sample(poses.prompts, **options)
    return latents


def decode_arms(pipe: MiniPipeline, poses: Poses, latents: dict[str, Tensor]) -> dict[str, Tensor]:
    """The pictures of every arm, [n, H, W, 3] each."""
    pictures = {"render": poses.truth} | {arm: pipe.decode(z.to(pipe.device)).cpu() for arm, z in latents.items()}
    return pictures | {"another hand, as given": pictures["another hand"]}


def score_arms(pictures: dict[str, Tensor], poses: Poses, swap: Swap) -> dict[str, list[Score]]:
    """Scores of every arm's pictures."""
    return {
        arm: [
            score_picture(picture, want.points, want.box, want.side, MEDIAPIPE_JUDGE)
            for picture, want in zip(drawn, swap.wanted if arm.endswith("as given") else poses.wanted, strict=True)
        ]
        for arm, drawn in pictures.items()
    }


def load_control(path: Path, pipe: MiniPipeline) -> MiniPipeline:
    """The control base beside the pipeline's own VAE and tokenizer."""
    from ..train.diffusion import Base

    weights = read_control(path)
    base = Base()
    if missing := sorted(set(base.state_dict()) ^ set(weights)):
        raise ValueError(f"{path} does not fit the small model ({missing[0]}): take it from the repository again.")
    base.load_state_dict(weights)
    base.eval()
    return dataclasses.replace(pipe, unet=base.unet, text_encoder=base.text)


def _row(score: Score, caption: Caption) -> dict[str, Any]:
    errors = [round(float(e), 5) if torch.isfinite(e) else None for e in score.errors]
    return {
        "found": score.found, "confidence": score.confidence, "errors": errors, "side": score.side_match,
        "gesture": caption.gesture, "view": caption.view,
    }  # fmt: skip


def _score(row: dict[str, Any]) -> Score:
    errors = torch.tensor([float("inf") if e is None else e for e in row["errors"]])
    return Score(row["found"], row["confidence"], errors, row["side"])


def table(rows: dict[str, list[dict[str, Any]]]) -> str:
    """The report's table, as Markdown; fists apart."""
    lines = ["| arm | poses | PCK@0.1 | share of the ceiling | found | side right | joint error where found |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")

    def scores(arm: str, fists: bool = False) -> list[Score]:
        return [_score(row) for row in rows[arm] if (row["gesture"] == "fist") == fists]

    ceiling = summarise(scores("ceiling")).mean
    for arm in (arm for arm in ARMS if arm in rows):
        chosen = scores(arm)
        cells = [summarise(chosen, name) for name in ("pck", "found", "side", "joint_error")]
        shown = [f"{cell.mean:.3f} [{cell.low:.3f}, {cell.high:.3f}]" for cell in cells]
        share = f"{cells[0].mean / ceiling:.0%}"
        lines.append("| " + " | ".join([arm, str(len(chosen)), shown[0], share, *shown[1:]]) + " |")
    fists = {arm: summarise(scores(arm, True)) for arm in ("ceiling", "handrawer") if scores(arm, True)}
    if fists:
        said = ", ".join(f"{arm} {s.mean:.3f}" for arm, s in fists.items())
        lines.append(f"\nFists apart, {next(iter(fists.values())).count} poses: PCK {said}.")
    return "\n".join(lines)


def draw_guidances(pipe: MiniPipeline, poses: Poses) -> dict[str, Tensor]:
    """Latents of what the negative rows may get (the same hand or none), by (guidance, rule) as a name."""
    return {
        f"{guidance:g} {rule}": pipe.sample(
            poses.prompts, poses.hands, poses.seeds,
            steps=STEPS, guidance=guidance, negative_hand=rule, as_latents=True,
        )
        for guidance, rule in GUIDANCE_RULES
    }  # fmt: skip


def guidance_table(pipe: MiniPipeline, poses: Poses, latents: dict[str, Tensor]) -> str:
    """What the negative rows get, at several guidances, as a Markdown table."""
    lines = ["| guidance | negative rows | PCK@0.1 | found |", "| --- | --- | --- | --- |"]
    for guidance, rule in GUIDANCE_RULES:
        drawn = pipe.decode(latents[f"{guidance:g} {rule}"].to(pipe.device)).cpu()
        scores = [
            score_picture(p, w.points, w.box, w.side, MEDIAPIPE_JUDGE) for p, w in zip(drawn, poses.wanted, strict=True)
        ]
        pck, found = (summarise(scores, name) for name in ("pck", "found"))
        said = "there are none" if guidance == 1 else f"{rule} hand" if rule == "same" else "no hand"
        interval = f"[{pck.low:.3f}, {pck.high:.3f}]"
        lines.append(f"| {guidance:g} | {said} | {pck.mean:.3f} {interval} | {found.mean:.3f} |")
        log.info(lines[-1])
    return "\n".join(lines)


def _sheet(pictures: dict[str, Tensor], out: Path) -> None:
    arms = [arm for arm in ARMS if arm in pictures and not arm.endswith("as given")]
    shown = [pictures[arm][k] for arm in arms for k in range(min(SHOWN, len(pictures[arm])))]
    columns = min(SHOWN, len(pictures["render"]))
    labels = [arm if k == 0 else "" for arm in arms for k in range(columns)]
    save_picture(out / "sheet.jpg", sheet(shown, columns, labels))


def quick(pipe: MiniPipeline) -> torch.autocast:
    """bfloat16 halves the time that a CPU takes to draw; every arm is drawn alike."""
    return torch.autocast(pipe.device.type, torch.bfloat16)


def load_pipes(control: Path | None, device: str) -> tuple[MiniPipeline, MiniPipeline | None]:
    """The small model and its control base, if there is one."""
    pipe = load_mini()
    other = load_control(control, pipe) if control else None
    for network in (pipe.unet, pipe.vae, *([other.unet] if other else [])):
        network.to(memory_format=torch.channels_last)  # faster convolutions
    return pipe.to(device), other.to(device) if other else None


def draw(path: Path, count: int, control: Path | None, guidance_poses: int, device: str) -> None:
    """Draw all arms and keep their latents in a safetensors file, float16, with the machine in its metadata."""
    model = load_open_hand()
    pipe, other = load_pipes(control, device)
    parts: dict[str, list[Tensor]] = {}
    with quick(pipe):
        for first in range(0, count, 64):
            poses = held_out(first, min(64, count - first), model, device)
            for arm, latents in draw_arms(pipe, other, poses, model).items():
                parts.setdefault(arm, []).append(latents)
        if guidance_poses:
            parts |= {k: [v] for k, v in draw_guidances(pipe, held_out(count, guidance_poses, model, device)).items()}
    Drawn.write(path, {arm: torch.cat(part) for arm, part in parts.items()}, pipe.device)


def drawn_rows(drawn: Drawn, first: int, count: int) -> dict[str, Tensor]:
    """The arms' latents of some poses; those of the guidances, whose names begin with a number, are left out."""
    return {arm: rows[first : first + count] for arm, rows in drawn.latents.items() if not arm[0].isdigit()}


def prove(
    out: Path,
    count: int,
    control: Path | None,
    guidance_poses: int,
    say: Callable[[str], None],
    drawn: Drawn | None = None,
) -> str:
    """Draw unless that was done, score and report; gives the report's text."""
    out.mkdir(parents=True, exist_ok=True)
    model = load_open_hand()
    pipe, other = load_pipes(control if drawn is None else None, "cpu")
    store = out / "scores.json"
    rows: dict[str, list[dict[str, Any]]] = json.loads(store.read_text()) if store.exists() else {}
    started = time.monotonic()
    for first in range(len(rows.get("handrawer", [])), count, CHUNK):
        poses = held_out(first, min(CHUNK, count - first), model)
        with quick(pipe):
            latents = drawn_rows(drawn, first, len(poses.seeds)) if drawn else draw_arms(pipe, other, poses, model)
            pictures = decode_arms(pipe, poses, latents)
        scored = score_arms(pictures, poses, swapped(poses, model, pipe.adapter.config.raster))
        for arm, scores in scored.items():
            rows.setdefault(arm, []).extend(_row(s, c) for s, c in zip(scores, poses.captions, strict=True))
        if first == 0:
            _sheet(pictures, out)
        store.write_text(json.dumps(rows))
        say(f"{first + len(poses.seeds)} of {count} poses, {time.monotonic() - started:.0f} s")
    guidance = ""
    if guidance_poses:
        poses = held_out(count, guidance_poses, model)
        with quick(pipe):
            guidance = guidance_table(pipe, poses, drawn.latents if drawn else draw_guidances(pipe, poses))
    here = f"{platform.machine()} CPU, torch {torch.__version__}"
    machine = f"drawn on {drawn.machine}, decoded on {here}" if drawn else here
    text = _report(table(rows), guidance, count, guidance_poses, pipe, f"{machine}, bfloat16 autocast")
    (out / "report.md").write_text(text)
    return text


def _report(main_table: str, guidance: str, count: int, guidance_poses: int, pipe: MiniPipeline, machine: str) -> str:
    parts = [
        "# Does the picture follow the hand?",
        "A demonstration on the small synthetic model, made by `python -m handrawer.evaluate.proof`. "
        f"{count} held-out synthetic poses (seed {HELD_OUT_SEED}, training used seed 1), {STEPS} DDIM steps, guidance "
        f"{GUIDANCE:g}, negative rows: {pipe.adapter.config.negative_hand} hand; {machine}. Intervals are 95 % "
        "(bootstrap over poses). PCK@0.1: share of the 21 joints within 0.1 of the longer side of the hand's box; a "
        "hand that the detector does not find counts as all joints wrong.",
        main_table,
        "![Samples of every arm](sheet.jpg)",
    ]
    if guidance:
        parts += [f"## What the negative rows get, {guidance_poses} further poses", guidance]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("reports/proof"))
    parser.add_argument("--count", type=int, default=256)
    parser.add_argument("--control", type=Path, default=None, help="the control base's weights")
    parser.add_argument("--guidance-poses", type=int, default=48)
    parser.add_argument("--draw", type=Path, default=None, help="draw alone, and keep the latents in this file")
    parser.add_argument("--drawn", type=Path, default=None, help="score the latents of such a file")
    parser.add_argument("--device", default="cpu", help="what draws with --draw: cpu, cuda")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    count, control, guidance_poses = arguments.count, arguments.control, arguments.guidance_poses
    if arguments.draw:
        draw(arguments.draw, count, control, guidance_poses, arguments.device)
        return
    drawn = Drawn.read(arguments.drawn) if arguments.drawn else None
    log.info(prove(arguments.out, count, control, guidance_poses, log.info, drawn))


if __name__ == "__main__":
    main()
