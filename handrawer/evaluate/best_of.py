"""Best of eight: does picking by the judge, which does not know what was wanted, give better hands?

    python -m handrawer.evaluate.best_of sample LATENTS.safetensors [--device cuda]
    python -m handrawer.evaluate.best_of measure LATENTS.safetensors MEASURED.safetensors [--workers 16]
    python -m handrawer.evaluate.judge_fit look MEASURED.safetensors
    python -m handrawer.evaluate.best_of score LATENTS.safetensors MEASURED.safetensors REPORT.md

The small model draws eight pictures of each of 128 prompts from text alone, without HanDrawer. The judge picks one of
each eight; the mean of the eight is what a random pick gives. How good a picture really is, is measured by what the
prompt says and the judge is not told: gesture, side and view. A text says nothing of place, size and exact turn, so
that the found joints are compared with the named hand's after the best similarity in the picture (no mirror), over a
grid of the turns that the view's name allows: ``aligned_pck``.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ..estimate.calibration import mediapipe_points_2d
from ..estimate.landmarks import LandmarkDetector, Landmarks
from ..hand.gestures import gesture_angles
from ..hand.hands import make_hand, orientation_from_degrees
from ..hand.model import load_open_hand
from ..mini.pipeline import MiniPipeline, load_mini
from ..mini.scene import GESTURE_NAMES, Scene, draw_scenes
from .score import PCK_RADIUS

log = logging.getLogger("handrawer")

PROMPTS, EACH, SEED = 128, 8, 61_000
STEPS, GUIDANCE = 20, 4.0
YAWS, PITCHES = (-30, -15, 0, 15, 30), (-30, -15, 0, 15, 30)  # degrees about what the view's name means
VIEW_YAWS = {"palm": (0,), "back": (180,), "side": (90, -90)}
SKIPPED = ("fist",)  # the detector sees few of them, whoever draws them


def wanted_scenes(count: int = PROMPTS, seed: int = SEED) -> Scene:
    """The held-out scenes whose captions are the prompts: a named gesture, palm or back to the viewer."""
    from .malformed import rows_of

    scene = draw_scenes(seed, torch.arange(count * 6), load_open_hand())
    named = torch.tensor([name not in SKIPPED for name in GESTURE_NAMES] + [False])
    keep = torch.nonzero(named[scene.gesture] & (scene.view < 2))[:count, 0]
    return rows_of(scene, keep.tolist())


@torch.no_grad()
def sample_latents(
    pipe: MiniPipeline, prompts: list[str], each: int = EACH, *, steps: int = STEPS, batch: int = 128,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:  # fmt: skip
    """``each`` latents of every prompt from text alone: [prompts * each, 4, 32, 32] float16 on the CPU.

    The noise of a picture depends on its number alone.
    """
    from ..mini.modules import LATENT_SIZE

    count = len(prompts) * each
    empty, found = pipe.encode_text([""]), []
    for start in range(0, count, batch):
        numbers = range(start, min(start + batch, count))
        noise = [torch.randn(4, LATENT_SIZE, LATENT_SIZE, generator=torch.Generator().manual_seed(n)) for n in numbers]
        latents = torch.stack(noise).to(pipe.device)
        text = pipe.encode_text([prompts[n // each] for n in numbers])
        both = torch.cat([empty.expand(len(latents), -1, -1), text])
        pipe.scheduler.set_timesteps(steps)
        for moment in pipe.scheduler.timesteps:
            times = torch.full((2 * len(latents),), int(moment), device=pipe.device)
            without, with_ = pipe.unet(torch.cat([latents, latents]), times, both, return_dict=False)[0].chunk(2)
            predicted = without + GUIDANCE * (with_ - without)
            latents = pipe.scheduler.step(predicted, moment, latents, return_dict=False)[0]
        found.append(latents.to("cpu", torch.float16))
        if progress is not None:
            progress(numbers[-1] + 1, count)
    return torch.cat(found)


def templates(gesture: str, side: str, view: str) -> Tensor:
    """[T, 21, 2] MediaPipe's points of a gesture in all turns that the view's name allows, pixels of a square."""
    found = []
    for yaw in VIEW_YAWS[view]:
        for more in YAWS:
            for pitch in PITCHES:
                hand = make_hand(
                    angles=gesture_angles(gesture), side=side, orientation=orientation_from_degrees(yaw + more, pitch),
                    width=512, height=512,
                )  # fmt: skip
                found.append(mediapipe_points_2d(hand, 512, 512) * 512)
    return torch.stack(found)


def aligned_pck(points: Tensor, known: Tensor) -> float:
    """The greatest PCK@0.1 of found points [21, 2] against any template [T, 21, 2], after the best similarity without
    a mirror; the radius is a tenth of the longer side of the template's box, where it was brought to."""
    found, wanted = (torch.view_as_complex(p.double().contiguous()) for p in (points, known))
    found = found - found.mean()
    wanted = wanted - wanted.mean(dim=1, keepdim=True)
    turn = (wanted.conj() * found).sum(dim=1) / (wanted.abs() ** 2).sum(dim=1)
    brought = turn[:, None] * wanted
    extent = (known.amax(dim=1) - known.amin(dim=1)).amax(dim=1).double()
    radius = PCK_RADIUS * extent * turn.abs()
    return float(((brought - found).abs() <= radius[:, None]).double().mean(dim=1).max())


def true_quality(picture: Tensor, known: Tensor, side: str, detector: Callable[[Tensor], list[Landmarks]]) -> float:
    """``aligned_pck`` of the largest hand in a picture [H, W, 3], 0 where none is found.

    Args:
        known: see ``templates``; of the wanted side, so that the other side's hand, a mirror image, fits badly.
    """
    found = detector(picture)
    if not found:
        return 0.0
    size = torch.tensor([picture.shape[1], picture.shape[0]])
    return aligned_pck(found[0].points * size, known)


def _sample(arguments: argparse.Namespace) -> None:
    from safetensors.torch import save_file

    scene = wanted_scenes(arguments.prompts)
    prompts = [caption.text() for caption in scene.captions()]
    latents = sample_latents(load_mini(device=arguments.device), prompts, arguments.each, steps=arguments.steps)
    told = {"prompts": json.dumps(prompts), "each": str(arguments.each), "steps": str(arguments.steps)}
    save_file({"latents": latents}, arguments.latents, metadata=told)


def decoded(latents: Tensor, pipe: MiniPipeline) -> Tensor:
    """[N, 256, 256, 3] pictures in 8 bits, as they are saved."""
    return (
        torch.cat([pipe.decode(part.float().to(pipe.device)).cpu() for part in latents.split(32)]) * 255
    ).round() / 255


def _pictures(arguments: argparse.Namespace) -> None:
    """The pictures as files, for machines on which decoding takes long."""
    from safetensors.torch import load_file

    from ..render.pictures import to_pil

    folder = Path(arguments.folder)
    folder.mkdir(parents=True, exist_ok=True)
    latents = load_file(arguments.latents)["latents"][: arguments.count or None]
    pictures = decoded(latents, load_mini(device=arguments.device))
    for number, picture in enumerate(pictures):
        to_pil(picture).save(folder / f"{number:05d}.jpg", quality=92)


def read_pictures(folder: str, count: int) -> Tensor:
    """[count, 256, 256, 3] of ``best_of pictures``."""
    from ..render.pictures import load_picture

    return torch.cat([load_picture(Path(folder) / f"{number:05d}.jpg") for number in range(count)])


def look_at(pictures: Tensor) -> list[tuple[str, dict | None]]:
    """The judge's signals of pictures [N, H, W, 3] in 8 bits, for ``judge_fit.stack``."""
    from .judge import detector_of_judge
    from .judge_fit import measure_picture

    torch.set_num_threads(1)
    detector = detector_of_judge(1)
    return [("mini", measure_picture(picture.float() / 255, detector)) for picture in pictures]


def _measure(arguments: argparse.Namespace) -> None:
    """The judge's signals of every picture, for ``judge_fit.load_measured``."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    from safetensors.torch import load_file

    from .judge_fit import save_measured, stack

    latents = load_file(arguments.latents)["latents"][: arguments.count or None]
    some = arguments.pictures
    pictures = read_pictures(some, len(latents)) if some else decoded(latents, load_mini(device=arguments.device))
    parts = (pictures * 255).round().to(torch.uint8).split(16)
    deadline, entries = time.monotonic() + arguments.seconds, []
    with ProcessPoolExecutor(arguments.workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(look_at, part) for part in parts]
        for future in futures:
            if time.monotonic() < deadline:
                entries += future.result()
            else:
                future.cancel()
    log.info("%d pictures of %d", len(entries), len(pictures))
    save_measured(arguments.measured, mini=stack(entries))


def picked_against_random(quality: Tensor, truth: Tensor, seed: int = 0) -> tuple[float, float, float, float, float]:
    """Means over prompts: truth of the picked, of a random pick, their difference, and its 95 % bootstrap interval.

    Args:
        quality, truth: [prompts, each] what the judge says, and how good the pictures really are.
    """
    picked = truth.gather(1, quality.argmax(dim=1, keepdim=True))[:, 0]
    gain = (picked - truth.mean(dim=1)).double()
    generator = torch.Generator().manual_seed(seed)
    means = gain[torch.randint(len(gain), (10_000, len(gain)), generator=generator)].mean(dim=1)
    low, high = means.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return float(picked.mean()), float(truth.mean()), float(gain.mean()), low, high


def _score(arguments: argparse.Namespace) -> None:
    """Write OUT, a few lines of Markdown."""
    from safetensors import safe_open

    from .judge import judge_model
    from .judge_fit import load_measured, qualities

    with safe_open(arguments.latents, framework="pt") as file:
        told, latents = file.metadata(), file.get_tensor("latents")
    each, prompts = int(told["each"]), json.loads(told["prompts"])
    measured = load_measured(arguments.measured)["mini"]
    quality = qualities(judge_model(), measured)
    captions = wanted_scenes(len(prompts)).captions()[: len(quality) // each]  # measuring may have been stopped early
    count = len(captions) * each
    some = arguments.pictures
    pictures = read_pictures(some, count) if some else decoded(latents[:count], load_mini())
    detector = LandmarkDetector(max_hands=1, min_confidence=0.5, backend=arguments.backend)
    known = [templates(caption.gesture or "", caption.side, caption.view) for caption in captions]
    truth = [true_quality(p, known[n // each], captions[n // each].side, detector) for n, p in enumerate(pictures)]
    by_prompt = quality[:count].reshape(-1, each), torch.tensor(truth).reshape(-1, each)
    picked, random, gain, low, high = picked_against_random(*by_prompt)
    found = measured.found[:count].reshape(-1, each)
    share, found_share = found.double() / found.sum(dim=1, keepdim=True).clamp_min(1), float(found.double().mean())
    of_found = float((share * by_prompt[1]).sum(dim=1).mean())
    lines = [
        "# Best of eight without HanDrawer", "",
        f"{len(captions)} prompts, {each} pictures of each, {told['steps']} steps, text alone; the judge is not told "
        f"what was wanted. True quality: PCK@0.1 after the best similarity, found by {arguments.backend}.", "",
        f"A hand is found in {found_share:.0%} of the pictures; a random pick of those gives {of_found:.3f}.", "",
        f"Picked {picked:.3f}, random pick {random:.3f}, difference {gain:+.3f} (95 % {low:+.3f} to {high:+.3f}).",
    ]  # fmt: skip
    if arguments.answers:
        lines += ["", *answers_against_chance(quality[:count].reshape(-1, each), Path(arguments.answers))]
    Path(arguments.out).write_text("\n".join(lines) + "\n", encoding="utf-8")


def answers_against_chance(quality: Tensor, file: Path) -> list[str]:
    """What was answered of pairs: the picked one beside one of the other seven."""
    from .judge_blind import count_answers, pairs_of

    told = json.loads(file.read_text(encoding="utf-8"))
    wins = torch.tensor(count_answers(told["answers"], pairs_of(quality[: len(told["answers"])]))).double()
    generator = torch.Generator().manual_seed(0)
    means = wins[torch.randint(len(wins), (10_000, len(wins)), generator=generator)].mean(dim=1)
    low, high = means.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    better, worse, equal = (int((wins == value).sum()) for value in (1, -1, 0))
    return [
        f"Blind: of {len(wins)} pairs, the picked picture beside one of the other seven by chance, the picked one was "
        f"called better made in {better}, the other in {worse}, neither in {equal}; better less worse "
        f"{float(wins.mean()):+.2f} of all (95 % {low:+.2f} to {high:+.2f}). Answered by {told['answered by']}."
    ]


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = found.add_subparsers(required=True)
    sample = commands.add_parser("sample", help="draw the latents; a GPU takes seconds, a CPU an hour")
    sample.add_argument("latents")
    sample.add_argument("--device", default="cpu")
    sample.add_argument("--prompts", type=int, default=PROMPTS)
    sample.add_argument("--each", type=int, default=EACH)
    sample.add_argument("--steps", type=int, default=STEPS)
    sample.set_defaults(run=_sample)
    measure = commands.add_parser("measure", help="look at the pictures as the judge does")
    measure.add_argument("latents")
    measure.add_argument("measured")
    measure.add_argument("--device", default="cpu")
    measure.add_argument("--workers", type=int, default=1)
    measure.add_argument("--seconds", type=float, default=float("inf"), help="after which what is there is kept")
    measure.add_argument("--count", type=int, default=0, help="the first so many pictures alone")
    measure.add_argument("--pictures", help="a folder of the pictures; otherwise they are decoded again")
    measure.set_defaults(run=_measure)
    score = commands.add_parser("score", help="the picked pictures against a random pick")
    score.add_argument("latents")
    score.add_argument("measured")
    score.add_argument("out", help="a file of Markdown")
    score.add_argument("--backend", default="mediapipe", choices=("mediapipe", "torch"), help="of the true quality")
    score.add_argument("--answers", help="a file of answers to the pairs of judge_blind")
    score.add_argument("--pictures", help="a folder of the pictures; otherwise they are decoded again")
    score.set_defaults(run=_score)
    pictures = commands.add_parser("pictures", help="write the pictures into a folder")
    pictures.add_argument("latents")
    pictures.add_argument("folder")
    pictures.add_argument("--device", default="cpu")
    pictures.add_argument("--count", type=int, default=0, help="the first so many alone")
    pictures.set_defaults(run=_pictures)
    return found


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    chosen = parser().parse_args()
    chosen.run(chosen)
