"""Nodes from pictures to hands."""

from typing import Any

import comfy.model_management as mm
import comfy.utils
import torch
from comfy_api.latest import io, ui

from ..handrawer.estimate.estimate import SIDES
from ..handrawer.estimate.find import THOROUGHNESS
from . import pictures, placing, where
from .outputs import SOURCES, hands_output, image_output, note_output

MOST_HANDS = 100
BOXES = "BBOX,BOUNDING_BOX"
"""The host's boxes: BBOX up to now, BOUNDING_BOX in newer versions."""

THOROUGHNESS_TOOLTIP = (
    "fast: one look at the whole picture. balanced: parts of it too, so that small and overlapping hands are found, "
    "and several looks at each, so that nothing else is taken for a hand. thorough: more scales and all four "
    "directions, for a few seconds."
)


class HanDrawerEstimateHands(io.ComfyNode):
    """Picture to hands."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HanDrawerEstimateHands",
            display_name="Estimate Hands",
            category=SOURCES,
            description=(
                "Finds the hands in each picture and fits a hand mesh to every one of them. "
                "No hand is no error: the note says so."
            ),
            inputs=[
                io.Image.Input("image", tooltip="One picture or a batch, of any size."),
                io.Int.Input(
                    "max_hands",
                    default=4,
                    min=1,
                    max=MOST_HANDS,
                    tooltip="At most so many hands are taken from each picture, the largest.",
                ),
                io.Float.Input(
                    "min_confidence",
                    default=0.5,
                    min=0.05,
                    max=1.0,
                    step=0.05,
                    tooltip="How sure the detector must be. Lower it where a hand is missed.",
                ),
                io.Combo.Input(
                    "thoroughness",
                    options=list(THOROUGHNESS),
                    default="balanced",
                    optional=True,
                    tooltip=THOROUGHNESS_TOOLTIP,
                ),
            ],
            outputs=_outputs(),
        )

    @classmethod
    def execute(
        cls, image: torch.Tensor, max_hands: int, min_confidence: float, thoroughness: str = "balanced"
    ) -> io.NodeOutput:
        return _estimate(
            cls, image, None, max_hands=max_hands, min_confidence=min_confidence, thoroughness=thoroughness
        )


class HanDrawerEstimateHandsAdvanced(io.ComfyNode):
    """Picture to hands, with everything that can be said about it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HanDrawerEstimateHandsAdvanced",
            display_name="Estimate Hands (advanced)",
            category=SOURCES,
            description=(
                "Estimate Hands with all its controls: where to look, how sure to be, and which side the hands are. "
                "Mask, boxes, segments and detector add up: a hand is taken if its middle lies in one of them."
            ),
            inputs=[
                io.Image.Input("image", tooltip="One picture or a batch, of any size."),
                io.Combo.Input(
                    "thoroughness", options=list(THOROUGHNESS), default="thorough", tooltip=THOROUGHNESS_TOOLTIP
                ),
                io.Int.Input(
                    "max_hands",
                    default=20,
                    min=1,
                    max=MOST_HANDS,
                    tooltip="At most so many hands are taken from each picture, the largest.",
                ),
                io.Float.Input(
                    "hand_confidence",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="How sure the landmark network must be that it sees a hand. Lower it where one is missed.",
                ),
                io.Float.Input(
                    "palm_confidence",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="How sure the palm detector must be, which only says where to look closer. Lower values "
                    "take longer.",
                ),
                io.Combo.Input(
                    "side",
                    options=list(SIDES),
                    default="auto",
                    tooltip="auto: as detector and fit see it. left, right: all hands are such, the person's own.",
                ),
                io.Mask.Input(
                    "mask", optional=True, tooltip="Look only at its white spots. One mask serves every picture."
                ),
                io.Custom(BOXES).Input("boxes", optional=True, tooltip="Look only in these boxes, in pixels."),
                io.Combo.Input(
                    "box_numbers",
                    options=list(where.NUMBERS),
                    default=where.NUMBERS[0],
                    optional=True,
                    tooltip="What the four numbers of a box are: corners x0, y0, x1, y1, or a corner x, y with width "
                    "and height. Boxes that name their numbers need no choice.",
                ),
                io.Custom("SEGS").Input("segs", optional=True, tooltip="Impact Pack: look only at these segments."),
                io.Custom("BBOX_DETECTOR").Input(
                    "bbox_detector",
                    optional=True,
                    tooltip="Impact Pack: look only where this detector finds something, for example a hand detector.",
                ),
                io.Float.Input(
                    "detector_threshold",
                    default=0.3,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    optional=True,
                    tooltip="How sure that detector must be.",
                ),
            ],
            outputs=_outputs(),
        )

    @classmethod
    def execute(
        cls,
        image: torch.Tensor,
        thoroughness: str,
        max_hands: int,
        hand_confidence: float,
        palm_confidence: float,
        side: str,
        mask: torch.Tensor | None = None,
        boxes: Any = None,
        box_numbers: str = where.NUMBERS[0],
        segs: Any = None,
        bbox_detector: Any = None,
        detector_threshold: float = 0.3,
    ) -> io.NodeOutput:
        seen = pictures.check_image(image, "image")
        height, width = seen.shape[1:3]
        sources = []
        if mask is not None:
            sources.append(where.of_mask(pictures.check_mask(mask, "mask")))
        if boxes is not None:
            with placing.named("boxes"):
                sources.append(where.of_boxes(boxes, box_numbers, width, height))
        if segs is not None:
            with placing.named("segs"):
                sources.append([where.of_segs(segs)])
        if bbox_detector is not None:
            with placing.named("bbox_detector"):
                sources.append(where.of_detector(bbox_detector, seen, detector_threshold))
        return _estimate(
            cls,
            image,
            where.together(sources, len(seen)),
            max_hands=max_hands,
            min_confidence=hand_confidence,
            palm_confidence=palm_confidence,
            thoroughness=thoroughness,
            side=side,
        )


def _outputs() -> list[io.Output]:
    return [
        hands_output("For each picture its hands: pose, shape, place and camera."),
        image_output("overlay", "The pictures with the fitted meshes and their numbers."),
        note_output(),
    ]


def _estimate(cls: type, image: torch.Tensor, boxes: list[torch.Tensor] | None, **settings: Any) -> io.NodeOutput:
    """What both nodes do: the hands, shown over the pictures, and what there is to say."""
    from ..handrawer.estimate.estimate import estimate_hands
    from ..handrawer.render.overlay import draw_overlay

    seen = pictures.check_image(image, "image")
    bar = comfy.utils.ProgressBar(len(image))

    def progress(done: int, total: int) -> None:
        bar.update_absolute(done, total)
        mm.throw_exception_if_processing_interrupted()

    # Outside the host's inference mode, whose tensors can carry no gradients: the fit follows some, and the hand
    # model that is loaded here on the way is kept for all later uses.
    with torch.inference_mode(False), torch.no_grad():
        found = estimate_hands(image, boxes=boxes, progress=progress, **settings)
        overlay = draw_overlay(seen.cpu(), found).to(mm.intermediate_device())
    note = placing.note_of(found)
    if boxes is not None and not any(len(each) for each in boxes):
        note = f"There is nowhere to look: the mask is black, or there are no boxes.\n{note}"
    return io.NodeOutput(found, overlay, note, ui=ui.PreviewImage(overlay, cls=cls))
