"""Nodes from pictures to hands."""

import comfy.model_management as mm
import comfy.utils
import torch
from comfy_api.latest import io, ui

from . import pictures, placing
from .outputs import CATEGORY, hands_output, image_output, note_output


class HanDrawerEstimateHands(io.ComfyNode):
    """Picture to hands."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HanDrawerEstimateHands",
            display_name="Estimate Hands",
            category=CATEGORY,
            description=(
                "Finds the hands in each picture and fits a hand mesh to every one of them. "
                "No hand is no error: the note says so."
            ),
            inputs=[
                io.Image.Input("image", tooltip="One picture or a batch, of any size."),
                io.Int.Input(
                    "max_hands", default=4, min=1, max=20, tooltip="At most so many hands are taken from each picture."
                ),
                io.Float.Input(
                    "min_confidence",
                    default=0.5,
                    min=0.05,
                    max=1.0,
                    step=0.05,
                    tooltip="How sure the detector must be. Lower it where a hand is missed.",
                ),
            ],
            outputs=[
                hands_output("For each picture its hands: pose, shape, place and camera."),
                image_output("overlay", "The pictures with the fitted meshes and their numbers."),
                note_output(),
            ],
        )

    @classmethod
    def execute(cls, image: torch.Tensor, max_hands: int, min_confidence: float) -> io.NodeOutput:
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
            found = estimate_hands(image, max_hands=max_hands, min_confidence=min_confidence, progress=progress)
            overlay = draw_overlay(seen.cpu(), found).to(mm.intermediate_device())
        note = placing.note_of(found)
        return io.NodeOutput(found, overlay, note, ui=ui.PreviewImage(overlay, cls=cls))
