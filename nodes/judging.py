"""Nodes that judge the hands of pictures, and pick by that."""

from typing import Any

import comfy.model_management as mm
import comfy.utils
import torch
from comfy_api.latest import io, ui
from comfy_execution.graph_utils import ExecutionBlocker

from ..handrawer.evaluate.judge import Judgement, PictureJudgement, judge_pictures
from ..handrawer.hand.hands import Frame, Hands
from . import notes, pictures, types
from .outputs import PICTURES, SOURCES, hands_output, image_output, note_output

THOROUGHNESS = ("balanced", "fast", "thorough")
BEST, ABOVE = "the best ones", "all above the bar"
BEST_ONE, NOTHING = "the best one", "nothing"


def _judged(image: torch.Tensor, wanted: Hands | None, max_hands: int, thoroughness: str) -> list[PictureJudgement]:
    bar = comfy.utils.ProgressBar(len(image))

    def progress(done: int, total: int) -> None:
        mm.throw_exception_if_processing_interrupted()
        bar.update_absolute(done, total)

    return judge_pictures(image, wanted=wanted, max_hands=max_hands, thoroughness=thoroughness, progress=progress)


class HanDrawerScoreHands(io.ComfyNode):
    """How well the hands of a picture are made."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HanDrawerScoreHands",
            display_name="Score Hands",
            category=SOURCES,
            description=(
                "Finds the hands in pictures of any model and judges how well they are made: whether several looks "
                "agree, whether a possible hand explains them, whether fingers are missing or too many. Says which "
                "need repair, and where. A statistical judge that errs: look at the overlay."
            ),
            inputs=[
                io.Image.Input("image", tooltip="Pictures of any origin."),
                io.Float.Input(
                    "good_from", default=0.5, min=0.0, max=1.0, step=0.01,
                    tooltip="A hand of less quality needs repair. Higher finds more bad hands, and accuses more good "
                    "ones.",
                ),
                io.Int.Input(
                    "max_hands", default=10, min=1, max=100, tooltip="At most so many hands of a picture, the largest."
                ),
                io.Combo.Input(
                    "thoroughness", options=list(THOROUGHNESS), tooltip="How long hands are searched for."
                ),
                types.Hands.Input(
                    "wanted", optional=True,
                    tooltip="The hands that should be there, to tell how well they are matched too; a missing one "
                    "needs repair.",
                ),
            ],
            outputs=[
                hands_output("The hands that were found, their confidence being their quality."),
                io.Float.Output(
                    id="score_out", display_name="score",
                    tooltip="0 to 1: the quality of the worst hand of the first picture; 0 without a hand.",
                ),
                io.Boolean.Output(
                    id="needs_repair_out", display_name="needs repair",
                    tooltip="Whether a hand of any picture is below the bar, or a wanted one is missing.",
                ),
                io.Mask.Output(
                    id="mask_out", display_name="bad hands", tooltip="White round the hands that need repair, alone."
                ),
                image_output("overlay", "Green: good. Red: needs repair. With number and quality."),
                io.String.Output(id="sentence_out", display_name="sentence", tooltip="What was found, in words."),
                io.String.Output(
                    id="scores_out", display_name="scores", tooltip="The score of every picture, with commas between."
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, image: torch.Tensor, good_from: float, max_hands: int, thoroughness: str, wanted: Hands | None = None
    ) -> io.NodeOutput:
        image = pictures.check_image(image, "image").cpu()
        with torch.inference_mode(False), torch.no_grad():
            judged = _judged(image.clone(), _placed(wanted, image), max_hands, thoroughness)
            mask = bad_mask(judged, good_from)
            overlay = draw_judgements(image.clone(), judged, good_from)
        hands = Hands(tuple(picture.frame for picture in judged))
        sentence = sentences(judged, good_from)
        bad = any(_needs_repair(picture, good_from) for picture in judged)
        notes.tell(str(cls.hidden.unique_id), sentence)
        device = mm.intermediate_device()
        scores = ", ".join(f"{picture.quality:.3f}" for picture in judged)
        return io.NodeOutput(
            hands, judged[0].quality, bad, mask.to(device), overlay.to(device), sentence, scores,
            ui=ui.PreviewImage(overlay[:8], cls=cls),
        )  # fmt: skip


class HanDrawerPickBest(io.ComfyNode):
    """The best pictures of a batch, by their hands."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HanDrawerPickBest",
            display_name="Pick Best Hands",
            category=PICTURES,
            description=(
                "Of a batch of pictures of any model, keeps those with the best hands, or all above a bar; their "
                "latents and hands go along. A picture is as good as its worst hand; one without hands is the worst."
            ),
            inputs=[
                io.Image.Input("image", tooltip="The batch."),
                io.Combo.Input("keep", options=[BEST, ABOVE], tooltip="What is kept of it."),
                io.Int.Input("count", default=1, min=1, max=4096, tooltip="How many, for the best ones."),
                io.Float.Input(
                    "bar", default=0.5, min=0.0, max=1.0, step=0.01, tooltip="The quality, for all above the bar."
                ),
                io.Combo.Input(
                    "if_none", options=[BEST_ONE, NOTHING],
                    tooltip="What is kept where no picture is above the bar. nothing: what follows does not run.",
                ),
                io.Combo.Input(
                    "thoroughness", options=list(THOROUGHNESS), tooltip="How long hands are searched for."
                ),
                io.Latent.Input("latent", optional=True, tooltip="The pictures' latents, to go along."),
                types.Hands.Input(
                    "wanted", optional=True,
                    tooltip="The hands that should be there: how well they are matched counts as much as how well "
                    "they are made.",
                ),
            ],
            outputs=[
                image_output("image", "The kept pictures, the best first."),
                io.Latent.Output(id="latent_out", display_name="latent", tooltip="Their latents."),
                hands_output("The hands that were found in them."),
                io.String.Output(
                    id="numbers_out", display_name="numbers", tooltip="Their numbers in the batch, from 0."
                ),
                io.Float.Output(id="score_out", display_name="score", tooltip="The best one's score."),
                note_output(),
            ],
            hidden=[io.Hidden.unique_id],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, image: torch.Tensor, keep: str, count: int, bar: float, if_none: str, thoroughness: str,
        latent: dict[str, Any] | None = None, wanted: Hands | None = None,
    ) -> io.NodeOutput:  # fmt: skip
        image = pictures.check_image(image, "image")
        if latent is not None and len(latent["samples"]) != len(image):
            raise ValueError(
                f"latent: there are {len(latent['samples'])} latents, but {len(image)} pictures; connect the latents "
                "that the pictures were decoded from."
            )
        with torch.inference_mode(False), torch.no_grad():
            judged = _judged(image.cpu().clone(), _placed(wanted, image), 20, thoroughness)
        scores = [picture_score(picture) for picture in judged]
        order = sorted(range(len(scores)), key=lambda n: -scores[n])  # stable: of equals the first
        kept = order[:count] if keep == BEST else [n for n in order if scores[n] >= bar]
        note = _picked(scores, kept, keep, bar)
        if not kept:
            note = f"No picture is above {bar:.2f}, the best one has {scores[order[0]]:.2f}."
            if if_none == NOTHING:
                notes.tell(str(cls.hidden.unique_id), note)
                nothing = ExecutionBlocker(None)
                return io.NodeOutput(nothing, nothing, nothing, nothing, nothing, nothing)
            kept = order[:1]
        notes.tell(str(cls.hidden.unique_id), note)
        found = Hands(tuple(judged[n].frame for n in kept))
        latents = _latents(latent, kept)
        numbers = ", ".join(map(str, kept))
        shown = image[kept].cpu()
        return io.NodeOutput(
            image[kept], latents, found, numbers, scores[kept[0]], note, ui=ui.PreviewImage(shown[:8], cls=cls)
        )


def picture_score(picture: PictureJudgement) -> float:
    """0 to 1: the quality, or where hands were wanted the mean of it and of the match."""
    return picture.quality if picture.match is None else (picture.quality + picture.match) / 2


def _picked(scores: list[float], kept: list[int], keep: str, bar: float) -> str:
    how = "the best" if keep == BEST else f"above {bar:.2f}"
    listed = ", ".join(f"{n} ({scores[n]:.2f})" for n in kept[:20])
    return f"{len(kept)} of {len(scores)} pictures are kept as {how}: {listed}{', ...' if len(kept) > 20 else ''}."


def _latents(latent: dict[str, Any] | None, kept: list[int]) -> Any:
    if latent is None:
        return ExecutionBlocker(
            "Pick Best Hands: its output 'latent' is connected, but nothing is connected to its input 'latent'; "
            "connect the latents of the pictures."
        )
    picked = {**latent, "samples": latent["samples"][kept]}
    mask = latent.get("noise_mask")
    if mask is not None and len(mask) == len(latent["samples"]):
        picked["noise_mask"] = mask[kept]
    indices = latent.get("batch_index", list(range(len(latent["samples"]))))
    picked["batch_index"] = [indices[n] for n in kept]
    return picked


def _placed(wanted: Hands | None, image: torch.Tensor) -> Hands | None:
    """Wanted hands on the picture's size, without stretching."""
    if wanted is None or not wanted.frames:
        return None
    return wanted.placed(image.shape[2], image.shape[1], "contain")


def _needs_repair(picture: PictureJudgement, bar: float) -> bool:
    return bool(picture.missing) or any(hand.quality < bar for hand in picture.hands)


def bad_mask(judged: list[PictureJudgement], bar: float) -> torch.Tensor:
    """[B, H, W] white round the hands below the bar."""
    from ..handrawer.render.hand_masks import hand_masks

    frames = []
    for picture in judged:
        bad = tuple(hand.hand for hand in picture.hands if hand.quality < bar)
        frames.append(Frame(picture.width, picture.height, bad))
    return hand_masks(Hands(tuple(frames)), shape="hull", padding=0.15, feather=0.05)


def draw_judgements(image: torch.Tensor, judged: list[PictureJudgement], bar: float) -> torch.Tensor:
    """[B, H, W, 3]: each hand's box in green or red, with its number and quality."""
    from PIL import ImageDraw

    from ..handrawer.render.pictures import font, to_pil

    found = []
    for picture, judgement in zip(image, judged, strict=True):
        page = to_pil(picture)
        draw = ImageDraw.Draw(page)
        width = max(2, round(min(page.size) / 160))
        letters = font(max(11, round(min(page.size) / 24)))
        for number, hand in enumerate(judgement.hands):
            colour = "#35c759" if hand.quality >= bar else "#ff453a"
            corners = [float(v) * page.size[i % 2] for i, v in enumerate(hand.hand.box)]
            draw.rectangle(corners, outline=colour, width=width)
            points = [(float(x) * page.width, float(y) * page.height) for x, y in hand.hand.joints_2d]
            for finger in range(5):
                chain = [points[0], *points[1 + 4 * finger : 5 + 4 * finger]]
                draw.line(chain, fill=colour, width=max(1, width // 2))
            place = (max(corners[0], 0) + width, max(corners[1], 0) + width)
            draw.text(place, f"{number}: {hand.quality:.2f}", colour, letters, stroke_width=2, stroke_fill="black")
        pixels = torch.frombuffer(bytearray(page.tobytes()), dtype=torch.uint8).reshape(page.height, page.width, 3)
        found.append(pixels.float() / 255)
    return torch.stack(found)


def sentences(judged: list[PictureJudgement], bar: float) -> str:
    """What was found, a line for each picture."""
    many = len(judged) > 1
    return "\n".join((f"Picture {n}: " if many else "") + _sentence(picture, bar) for n, picture in enumerate(judged))


def _sentence(picture: PictureJudgement, bar: float) -> str:
    said = [_of_hand(number, hand, bar) for number, hand in enumerate(picture.hands)] or ["No hand was found."]
    if picture.missing:
        said.append(f"{picture.missing} of the wanted hands {'is' if picture.missing == 1 else 'are'} missing.")
    return " ".join(said)


def _of_hand(number: int, hand: Judgement, bar: float) -> str:
    verdict = "looks well made" if hand.quality >= bar else "needs repair"
    details = [f"quality {hand.quality:.2f}"]
    if hand.fingers is not None:
        details.append(f"about {hand.fingers} fingers")
    if hand.match is not None:
        details.append(f"{100 * hand.match.pck:.0f} % of the wanted joints in place")
    why = f": {', '.join(hand.reasons)}" if hand.reasons and hand.quality < bar else ""
    return f"Hand {number} ({hand.hand.side}) {verdict} ({', '.join(details)}){why}."
