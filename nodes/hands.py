"""Nodes for hands that come from elsewhere than a picture, and for where they lie."""

import torch
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ..handrawer.hand.gestures import GESTURES
from ..handrawer.hand.hands import SIDES, Hands
from ..handrawer.render.pictures import load_picture, place_picture
from . import folders, pictures, placing, types
from .outputs import MAX_SIDE, PLACING, SOURCES, hands_output, image_output, note_output


class HanDrawerExamplePicture(io.ComfyNode):
    """A picture which comes with the project."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HanDrawerExamplePicture",
            display_name="HanDrawer Example Picture",
            category=SOURCES,
            description="A picture that comes with HanDrawer, to try it with. Load Image takes its place for your own.",
            inputs=[
                io.Combo.Input(
                    "picture", options=folders.example_pictures(), tooltip="Which of the pictures that come with it."
                )
            ],
            outputs=[image_output("image", "The picture.")],
        )

    @classmethod
    def execute(cls, picture: str) -> io.NodeOutput:
        return io.NodeOutput(load_picture(folders.EXAMPLES / picture))


class HanDrawerGesture(io.ComfyNode):
    """A named gesture at a place in a picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HanDrawerGesture",
            display_name="Hand from Gesture",
            category=SOURCES,
            description="One hand that makes a named gesture, where and as large as you want it.",
            inputs=[
                io.Combo.Input("gesture", options=list(GESTURES), tooltip="What the hand does."),
                io.Combo.Input(
                    "side", options=sorted(SIDES, reverse=True), tooltip="The person's own left or right hand."
                ),
                io.Float.Input(
                    "x", default=0.5, min=-1.0, max=2.0, step=0.01,
                    tooltip="Middle of the hand, from the picture's left (0) to its right (1).",
                ),
                io.Float.Input(
                    "y", default=0.5, min=-1.0, max=2.0, step=0.01,
                    tooltip="Middle of the hand, from the picture's top (0) to its bottom (1).",
                ),
                io.Float.Input(
                    "size", default=0.7, min=0.01, max=4.0, step=0.01,
                    tooltip="The hand's longer side, as a share of the picture's shorter side.",
                ),
                io.Float.Input(
                    "yaw", default=0.0, min=-180.0, max=180.0, step=1.0,
                    tooltip="Degrees by which the palm turns to the picture's right. 180 shows the back of the hand.",
                ),
                io.Float.Input(
                    "pitch", default=0.0, min=-180.0, max=180.0, step=1.0,
                    tooltip="Degrees by which the fingertips lean towards the viewer.",
                ),
                io.Float.Input(
                    "roll", default=0.0, min=-180.0, max=180.0, step=1.0,
                    tooltip="Degrees by which the hand turns clockwise in the picture.",
                ),
                io.Int.Input(
                    "width", default=256, min=8, max=MAX_SIDE, step=8, tooltip="Width of the picture, in pixels."
                ),
                io.Int.Input(
                    "height", default=256, min=8, max=MAX_SIDE, step=8, tooltip="Height of the picture, in pixels."
                ),
            ],
            outputs=[hands_output("One hand in one picture; it serves every picture of a batch.")],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, gesture: str, side: str, x: float, y: float, size: float, yaw: float, pitch: float, roll: float,
        width: int, height: int,
    ) -> io.NodeOutput:  # fmt: skip
        from ..handrawer.hand.hands import hand_from_gesture

        with torch.inference_mode(False):
            frame = hand_from_gesture(
                gesture, side, width, height, centre=(x, y), size=size, orientation=(yaw, pitch, roll)
            )
        return io.NodeOutput(Hands((frame,)))


class HanDrawerPlaceHands(io.ComfyNode):
    """Hands onto a picture of another size."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HanDrawerPlaceHands",
            display_name="Place Hands",
            category=PLACING,
            description=(
                "Brings hands onto a picture of another size, without stretching them; a picture connected here moves "
                "along. Give it the size of the picture that you make."
            ),
            inputs=[
                types.Hands.Input("hands", tooltip="Hands on pictures of any size."),
                io.Int.Input(
                    "width", default=256, min=8, max=MAX_SIDE, step=8, tooltip="Width of the new picture, in pixels."
                ),
                io.Int.Input(
                    "height", default=256, min=8, max=MAX_SIDE, step=8, tooltip="Height of the new picture, in pixels."
                ),
                io.Combo.Input(
                    "mode",
                    options=list(placing.MODES),
                    tooltip="contain: the whole picture is visible. cover: it fills the new one. "
                    "crop: the new picture shows what is around the hands.",
                ),
                io.Int.Input(
                    "hand",
                    default=placing.ALL,
                    min=placing.ALL,
                    max=99,
                    tooltip="The number of one hand, as the overlay shows it: the others are left out. -1 takes all.",
                ),
                io.Float.Input(
                    "margin",
                    default=0.2,
                    min=0.0,
                    max=4.0,
                    step=0.05,
                    tooltip="For crop: what is left free on each side of the hands, in shares of their size.",
                ),
                io.Image.Input("image", optional=True, tooltip="The picture that the hands belong to."),
            ],
            outputs=[
                hands_output("The hands on the new picture."),
                image_output("image", "The picture, moved like its hands; black where it does not reach."),
                note_output(),
            ],
        )

    @classmethod
    def execute(
        cls, hands: Hands, width: int, height: int, mode: str, hand: int, margin: float,
        image: torch.Tensor | None = None,
    ) -> io.NodeOutput:  # fmt: skip
        if image is not None:
            image = pictures.check_image(image, "image")
            placing.check_sizes(hands, image)
        chosen = placing.choose(hands, hand)
        placements = [placing.placement(frame, width, height, mode, margin) for frame in chosen.frames]
        placed = Hands(tuple(f.placed(p) for f, p in zip(chosen.frames, placements, strict=True)))
        moved = ExecutionBlocker(
            "Place Hands: its output 'image' is connected, but nothing is connected to its input 'image'; connect the "
            "picture that the hands belong to."
        )
        if image is not None:
            moved = torch.cat(
                [place_picture(image[i : i + 1], placements[i % len(placements)]) for i in range(len(image))]
            )
        return io.NodeOutput(placed, moved, placing.note_of(placed))
