"""The node on which hands are posed by hand."""

import torch
from comfy_api.latest import io, ui

from ..handrawer.hand.hands import Frame, Hands
from ..handrawer.hand.poser import PoserState, dump_state, frame_to_state, parse_state, start_state, state_to_frame
from . import pictures, placing, types
from .outputs import MAX_SIDE, SOURCES, hands_output, image_output, note_output

MESSAGE = "handrawer_poser"
"""Under this key a run tells the page what it cannot know: the picture's size, the picture, the connected hands."""


class HanDrawerPoser(io.ComfyNode):
    """Hands that a person poses on the node itself."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HanDrawerPoser",
            display_name="Hand Poser",
            category=SOURCES,
            description=(
                "Pose hands in 3D, right on the node: drag to move, scroll to size, right-drag to turn, pull a "
                "fingertip and the finger follows. What you see is what is drawn; the pose is kept in the workflow."
            ),
            is_output_node=True,  # so that running it alone brings the connected picture and hands to the node
            inputs=[
                io.Int.Input(
                    "width", default=512, min=8, max=MAX_SIDE, step=8,
                    tooltip="Width of the picture, in pixels; a connected picture decides by itself.",
                ),
                io.Int.Input(
                    "height", default=512, min=8, max=MAX_SIDE, step=8,
                    tooltip="Height of the picture, in pixels; a connected picture decides by itself.",
                ),
                io.String.Input(
                    "state", default="", socketless=True,
                    tooltip="The posed hands, as the node writes them. Empty: the connected hands, or else one relaxed "
                    "right hand in the middle.",
                ),
                io.Image.Input(
                    "image", optional=True,
                    tooltip="A picture to pose over; the hands get its size. Of several pictures the first is shown.",
                ),
                types.Hands.Input(
                    "hands", optional=True,
                    tooltip="Hands to start from, those of an estimate say: taken as long as nothing was posed, and "
                    "by the button in the node after a run. Those of the first picture.",
                ),
            ],
            outputs=[
                hands_output("The posed hands in one picture; it serves every picture of a batch."),
                image_output("overlay", "The hands' meshes over the picture; on black without a picture."),
                note_output(),
            ],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, width: int, height: int, state: str = "", image: torch.Tensor | None = None, hands: Hands | None = None
    ) -> io.NodeOutput:
        from ..handrawer.render.overlay import draw_overlay

        notes = []
        below = None if image is None else pictures.check_image(image, "image")[:1].cpu()
        if below is not None:
            height, width = below.shape[1:3]
        with torch.inference_mode(False), torch.no_grad():
            with placing.named("hands"):
                offered, said = _offered(hands)
                notes += [said] if said else []
            with placing.named("state"):
                posed = parse_state(state)
                if posed is None:
                    posed = offered or start_state()
                frame = state_to_frame(posed, width, height)
            found = Hands((frame,))
            picture = torch.zeros(1, height, width, 3) if below is None else below.clone()
            overlay = draw_overlay(picture, found)
        notes += [said] if (said := placing.note_of(found)) else []
        message = {
            "width": width,
            "height": height,
            "background": None if below is None else dict(ui.PreviewImage(below, cls=cls).values[0]),
            "hands": None if offered is None else dump_state(offered),
        }
        return io.NodeOutput(found, overlay, "\n".join(notes), ui={MESSAGE: [message]})


def _offered(hands: Hands | None) -> tuple[PoserState | None, str]:
    """The connected hands as the poser would have them, or None where there are none; and what to say about it."""
    if hands is None or not hands.frames:
        return None, ""
    frame: Frame = hands.frames[0]
    if not frame.hands:
        return None, "The connected hands are none."
    state, note = frame_to_state(frame)
    if len(hands.frames) > 1:
        note = f"Of hands in {len(hands.frames)} pictures those of the first are taken. {note}".strip()
    return state, note
