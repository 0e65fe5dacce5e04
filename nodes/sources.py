"""Hands from elsewhere than a picture: pose nodes and files; and back to them."""

from typing import Any

import comfy.model_management as mm
import comfy.utils
import torch
from comfy_api.latest import io, ui

from ..handrawer.hand.hands import Frame, Hands
from . import json_files, pictures, placing, types
from .outputs import PICTURES, SOURCES, hands_output, image_output, note_output

PoseKeypoints = io.Custom("POSE_KEYPOINT")
"""What OpenPose, DWPose and SDPose nodes send: OpenPose's JSON, as lists and dictionaries."""

SIDES = ("by wrists", "as given", "exchanged")


class HanDrawerHandsFromPose(io.ComfyNode):
    """Pose keypoints to hands."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HanDrawerHandsFromPose",
            display_name="Hands from Pose Keypoints",
            category=SOURCES,
            description=(
                "Fits a hand mesh to the hand keypoints of a pose node (DWPose, OpenPose, SDPose, pose editors). No "
                "other detector is needed. No hand is no error: the note says so."
            ),
            inputs=[
                io.Float.Input(
                    "min_confidence", default=0.3, min=0.0, max=1.0, step=0.05,
                    tooltip="Joints less sure than this are left out and follow from the others.",
                ),
                io.Combo.Input(
                    "sides", options=list(SIDES),
                    tooltip="Some pose nodes exchange left and right. by wrists: exchange them where the body's wrists "
                    "say so. as given: take them as they come. exchanged: exchange them in any case.",
                ),
                PoseKeypoints.Input(
                    "pose_keypoint", optional=True, tooltip="From a pose node that was told to detect hands."
                ),
                io.Image.Input(
                    "image", optional=True,
                    tooltip="The picture that the poses come from: the hands get its size, where the pose node worked "
                    "on a scaled one.",
                ),
                io.String.Input(
                    "text", optional=True, multiline=True, default="",
                    tooltip="OpenPose's JSON as text, used if no pose is connected.",
                ),
            ],
            outputs=[
                hands_output("For each pose its hands, person by person, left before right."),
                image_output("overlay", "The pictures with the fitted meshes; on black without a picture."),
                note_output(),
            ],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, min_confidence: float, sides: str, pose_keypoint: Any = None, image: torch.Tensor | None = None,
        text: str = "",
    ) -> io.NodeOutput:  # fmt: skip
        from ..handrawer.estimate.openpose import hands_from_poses
        from ..handrawer.render.overlay import draw_overlay

        if pose_keypoint is None and not text.strip():
            raise ValueError("pose_keypoint: nothing is connected, and text is empty; connect a pose node.")
        seen = None if image is None else pictures.check_image(image, "image").cpu()
        size = (None, None) if seen is None else (seen.shape[2], seen.shape[1])

        def progress(done: int, total: int) -> None:
            bar.update_absolute(done, total)
            mm.throw_exception_if_processing_interrupted()

        bar = comfy.utils.ProgressBar(1)
        source = "text" if pose_keypoint is None else "pose_keypoint"
        with torch.inference_mode(False), torch.no_grad(), placing.named(source):
            if seen is not None and pose_keypoint is not None and len(pose_keypoint) == 0:
                frame = Frame(seen.shape[2], seen.shape[1], (), "No hand: the pose node gave no pose.")
                found = Hands((frame,) * len(seen))
            else:
                poses = text if pose_keypoint is None else pose_keypoint
                found = hands_from_poses(poses, *size, min_confidence=min_confidence, sides=sides, progress=progress)
            below = _below(seen, found)
            overlay = draw_overlay(below, found).to(mm.intermediate_device())
        return io.NodeOutput(found, overlay, placing.note_of(found), ui=ui.PreviewImage(overlay, cls=cls))


def _below(seen: torch.Tensor | None, hands: Hands) -> torch.Tensor:
    """A picture for each frame of the hands, black where there is none."""
    count = len(hands.frames)
    if seen is None:
        return torch.zeros(count, hands.frames[0].height, hands.frames[0].width, 3)
    return seen if len(seen) >= count else seen[[i % len(seen) for i in range(count)]]


class HanDrawerPoseFromHands(io.ComfyNode):
    """Hands to pose keypoints."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HanDrawerPoseFromHands",
            display_name="Pose Keypoints from Hands",
            category=PICTURES,
            description=(
                "The hands as OpenPose's keypoints, for nodes that draw or edit poses; alone, or put into the people "
                "of a pose at whose wrists they lie."
            ),
            inputs=[
                types.Hands.Input("hands", tooltip="The hands; those that are switched off are left out."),
                io.Combo.Input(
                    "coordinates", options=["pixels", "shares"],
                    tooltip="pixels: as DWPose and SDPose write them. shares: from 0 to 1, as OpenPose nodes do. A "
                    "connected pose decides by itself.",
                ),
                PoseKeypoints.Input(
                    "pose_keypoint", optional=True,
                    tooltip="People to whom the hands go, each hand to the nearest wrist of its side; hands that find "
                    "none become people of their own.",
                ),
            ],
            outputs=[
                PoseKeypoints.Output(
                    id="pose_keypoint_out", display_name="pose_keypoint", tooltip="OpenPose's keypoints, picture by "
                    "picture.",
                )
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, hands: Hands, coordinates: str, pose_keypoint: Any = None) -> io.NodeOutput:
        from ..handrawer.estimate.openpose_json import poses_from_hands

        poses = None if pose_keypoint is None or len(pose_keypoint) == 0 else pose_keypoint
        with torch.inference_mode(False), torch.no_grad(), placing.named("pose_keypoint"):
            return io.NodeOutput(poses_from_hands(hands, poses, normalised=coordinates == "shares"))


class HanDrawerLoadHands(io.ComfyNode):
    """A file of hands."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HanDrawerLoadHands",
            display_name="Load Hands",
            category=SOURCES,
            description="Hands from a file that Save Hands wrote, or from its text.",
            inputs=[
                io.Combo.Input(
                    "file",
                    options=[json_files.FROM_TEXT, *json_files.hand_files()],
                    tooltip="A .json file of ComfyUI's input folder, or of what Save Hands wrote to the output folder.",
                ),
                io.String.Input(
                    "text", optional=True, multiline=True, default="",
                    tooltip="The file's text, used if no file is chosen; paste it, or connect Save Hands.",
                ),
            ],
            outputs=[hands_output("The hands as they were saved."), note_output()],
        )  # fmt: skip

    @classmethod
    def fingerprint_inputs(cls, file: str, text: str | None = "", **kwargs: Any) -> str:
        return f"{text or ''}" if file == json_files.FROM_TEXT else json_files.content_mark(file)

    @classmethod
    def execute(cls, file: str, text: str = "") -> io.NodeOutput:
        if file == json_files.FROM_TEXT and not text.strip():
            raise ValueError("file: choose a file of hands, or put its text into 'text'.")
        with torch.inference_mode(False), placing.named("text" if file == json_files.FROM_TEXT else "file"):
            found = Hands.from_json(text if file == json_files.FROM_TEXT else json_files.read_text(file))
            if not found.frames:
                raise ValueError("This file of hands has no pictures.")
        return io.NodeOutput(found, placing.note_of(found))


class HanDrawerSaveHands(io.ComfyNode):
    """Hands to a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HanDrawerSaveHands",
            display_name="Save Hands",
            category=SOURCES,
            description="Writes the hands to ComfyUI's output folder as readable JSON, without loss.",
            is_output_node=True,
            inputs=[
                types.Hands.Input("hands", tooltip="The hands to keep."),
                io.String.Input(
                    "filename_prefix", default="hands",
                    tooltip="The file's name; a number is added, and no file is ever overwritten. Folders and words "
                    "like %year% work as in Save Image.",
                ),
            ],
            outputs=[
                io.String.Output(id="text_out", display_name="text", tooltip="What was written."),
                io.String.Output(id="file_out", display_name="file", tooltip="The file, as Load Hands lists it."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, hands: Hands, filename_prefix: str) -> io.NodeOutput:
        text = hands.to_json()
        first = hands.frames[0] if hands.frames else Frame(1, 1)
        with placing.named("filename_prefix"):
            name = json_files.write_beside(filename_prefix, text, first.width, first.height)
        return io.NodeOutput(text, name + json_files.OUTPUT, ui=ui.PreviewText(f"{hands.count} hands: {name}"))
