"""Nodes from hands to pictures and masks."""

import comfy.model_management as mm
import torch
import torch.nn.functional as F
from comfy_api.latest import io, ui

from ..handrawer.hand.boxes import inside_share
from ..handrawer.hand.hands import Frame, Hands
from ..handrawer.render.pictures import place_picture
from . import notes, pictures, placing, types
from .outputs import MAX_SIDE, PICTURES, image_output, note_output

BoundingBoxes = io.Custom("BOUNDING_BOX")
"""Newer hosts' type: for each picture a list of {"x", "y", "width", "height"}, in pixels."""

SHAPES = ("box", "ellipse", "hull", "silhouette")
EACH_PICTURE, EACH_HAND = "one for each picture", "one for each hand"

_PREVIEWS = 4
_PREVIEW_SIDE = 256  # pixels


class HanDrawerRenderHands(io.ComfyNode):
    """Hands to pictures."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HanDrawerRenderHands",
            display_name="Render Hands",
            category=PICTURES,
            description=(
                "Draws the hands as ControlNets know them: depth, normals, parts, skeleton, mask. No hands give black "
                "pictures and an empty mask."
            ),
            inputs=[
                types.Hands.Input("hands", tooltip="The hands; the pictures have the size that the hands lie on."),
                io.Combo.Input(
                    "depth_range",
                    options=["picture", "hand", "batch"],
                    tooltip="Which depths run from dark to bright: those of all hands of a picture (for depth "
                    "ControlNets), of each hand by itself (for HandRefiner's), or of all pictures of the batch (for "
                    "videos: no flicker).",
                ),
                io.Combo.Input(
                    "normal_colours",
                    options=["bae", "opengl"],
                    tooltip="bae: as ControlNet's normal_bae has them, red to the left. opengl: red to the right.",
                ),
                io.Image.Input("image", optional=True, tooltip="The picture below the overlay; black without."),
                io.Combo.Input(
                    "depth_curve",
                    options=["inverse", "linear"],
                    default="inverse",
                    optional=True,
                    tooltip="inverse: brightness follows 1 / depth, as depth ControlNets expect. linear: it follows "
                    "the depth; with depth_range hand, what MeshGraphormer draws and HandRefiner's ControlNet expects.",
                ),
                io.Int.Input(
                    "width", default=0, min=0, max=MAX_SIDE, step=8, optional=True,
                    tooltip="Width of the pictures, in pixels. 0: as the picture that the hands lie on.",
                ),
                io.Int.Input(
                    "height", default=0, min=0, max=MAX_SIDE, step=8, optional=True,
                    tooltip="Height of the pictures, in pixels. 0: as the picture that the hands lie on.",
                ),
                io.Int.Input(
                    "antialias", default=2, min=1, max=8, optional=True,
                    tooltip="How smooth edges are: samples of a pixel along each side. 1 gives hard edges.",
                ),
            ],
            outputs=[
                image_output("depth", "Near is bright, the background black."),
                image_output("normals", "The direction that the surface faces, as a colour."),
                image_output("parts", "Palm and finger bones, each in its colour."),
                image_output("skeleton", "The 21 joints in OpenPose's colours."),
                io.Mask.Output(id="mask_out", display_name="mask", tooltip="Where the hands are."),
                image_output("overlay", "The meshes over the picture."),
                note_output(),
            ],
            hidden=[io.Hidden.unique_id],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, hands: Hands, depth_range: str, normal_colours: str, image: torch.Tensor | None = None,
        depth_curve: str = "inverse", width: int = 0, height: int = 0, antialias: int = 2,
    ) -> io.NodeOutput:  # fmt: skip
        from ..handrawer.render.maps import render_layers
        from ..handrawer.render.overlay import draw_overlay
        from ..handrawer.render.skeleton import draw_skeleton

        if image is not None:
            image = pictures.check_image(image, "image").cpu()
            placing.check_sizes(hands, image)
        hands, image = _sized(hands, image, width, height)
        if image is None:
            image = torch.zeros(len(hands.frames), hands.frames[0].height, hands.frames[0].width, 3)
        device = mm.get_torch_device()
        with torch.inference_mode(False), torch.no_grad():
            maps = render_layers(
                hands,
                ("depth", "normals", "parts", "mask"),
                antialias=antialias,
                depth_range=depth_range,
                depth_curve=depth_curve,
                normals=normal_colours,
                device=device if device.type == "cuda" else "cpu",  # other devices lack what the rasteriser needs
            )
            skeleton = draw_skeleton(hands)
            overlay = draw_overlay(image, hands)
        depth = maps["depth"][..., None].expand(*maps["depth"].shape, 3)
        found = (depth, maps["normals"], maps["parts"], skeleton, maps["mask"], overlay)
        found = tuple(picture.to(mm.intermediate_device()) for picture in found)
        note = _note(hands, "the pictures are black and the mask is empty")
        if note:
            notes.tell(str(cls.hidden.unique_id), note)
        return io.NodeOutput(*found, note, ui=ui.PreviewImage(_sheets(found), cls=cls))


class HanDrawerHandMask(io.ComfyNode):
    """Hands to masks for inpainting."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HanDrawerHandMask",
            display_name="Hand Mask",
            category=PICTURES,
            description=(
                "Masks around hands, for inpainting: padded and with a soft edge, since a mask that follows a hand "
                "tightly keeps its bad shape. No hands give an empty mask."
            ),
            inputs=[
                types.Hands.Input("hands", tooltip="The hands; the masks have the size that the hands lie on."),
                io.Combo.Input(
                    "shape", options=list(SHAPES),
                    tooltip="box around the hand; ellipse along it; hull, its convex outline; or silhouette, what is "
                    "visible of it.",
                ),
                io.Float.Input(
                    "padding", default=0.15, min=0.0, max=2.0, step=0.01,
                    tooltip="Grows the shape on all sides by this share of the hand's size.",
                ),
                io.Float.Input(
                    "feather", default=0.05, min=0.0, max=1.0, step=0.01,
                    tooltip="Width of the soft edge around the padded shape, as a share of the hand's size.",
                ),
                io.Combo.Input(
                    "masks", options=[EACH_PICTURE, EACH_HAND],
                    tooltip="One mask for each picture, in which its hands join, or one for each hand of all pictures, "
                    "as a batch.",
                ),
            ],
            outputs=[
                io.Mask.Output(id="mask_out", display_name="mask", tooltip="White where the hands are, with padding."),
                BoundingBoxes.Output(
                    id="boxes_out", display_name="boxes",
                    tooltip="For each picture the padded boxes of its hands, cut at the picture's edge.",
                ),
                note_output(),
            ],
            hidden=[io.Hidden.unique_id],
        )  # fmt: skip

    @classmethod
    def execute(cls, hands: Hands, shape: str, padding: float, feather: float, masks: str) -> io.NodeOutput:
        from ..handrawer.render.hand_masks import hand_masks, padded_boxes

        hands, _ = _sized(hands, None, 0, 0)
        each = masks == EACH_HAND
        with torch.inference_mode(False), torch.no_grad():
            mask = hand_masks(hands, shape=shape, padding=padding, feather=feather, each=each)
        if not len(mask):  # without any hand: other nodes cannot take a batch of none
            mask = mask.new_zeros(1, *mask.shape[1:])
        boxes = [
            [{"x": x, "y": y, "width": w, "height": h} for x, y, w, h in found if w and h]
            for found in padded_boxes(hands, padding=padding)
        ]
        note = _note(hands, "the mask is empty")
        if note:
            notes.tell(str(cls.hidden.unique_id), note)
        mask = mask.to(mm.intermediate_device())
        return io.NodeOutput(mask, boxes, note, ui=ui.PreviewMask(mask[:_PREVIEWS], cls=cls))


def _sized(hands: Hands, image: torch.Tensor | None, width: int, height: int) -> tuple[Hands, torch.Tensor | None]:
    """Hands and picture at one size; 0 x 0 is the hands' own."""
    if not hands.frames:
        raise ValueError("hands: they belong to no picture; connect hands of at least one.")
    if bool(width) != bool(height):
        raise ValueError("width and height: give both, or leave both at 0 for the size that the hands lie on.")
    sizes = {(frame.width, frame.height) for frame in hands.frames}
    if not width:
        if len(sizes) > 1:
            listed = ", ".join(f"{w} x {h}" for w, h in sorted(sizes))
            raise ValueError(
                f"hands: they lie on pictures of different sizes ({listed}); send them through Place Hands to give "
                "them one."
            )
        return hands, image
    if sizes == {(width, height)}:
        return hands, image
    if image is not None:
        frame = hands.frames[0]  # check_sizes has seen that all have the picture's size
        image = place_picture(image, frame.placement(width, height, "contain"))
    return hands.placed(width, height, "contain"), image


def _note(hands: Hands, empty: str) -> str:
    """What there is to say: pictures without hands, hands out of the picture."""
    many = len(hands.frames) > 1
    said = []
    for place, frame in enumerate(hands.frames):
        said += [f"Picture {place}: {sentence}" if many else sentence for sentence in _sentences(frame, empty)]
    return "\n".join(said)


def _sentences(frame: Frame, empty: str) -> list[str]:
    drawn = [(number, hand) for number, hand in enumerate(frame.hands) if hand.enabled]
    if not drawn:
        why = "All hands are switched off" if frame.hands else "There is no hand"
        return [f"{why}: {empty}." + (f" {frame.note}" if frame.note else "")]
    outside = [(number, hand) for number, hand in drawn if float(inside_share(hand.box.float())) == 0]
    return [f"Hand {number} ({hand.side}) lies outside the picture." for number, hand in outside]


def _sheets(found: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """[P, h, w, 3]: for each of the first pictures a small sheet of all that was drawn, for the node."""
    shown = []
    for picture in found:
        picture = picture[:_PREVIEWS]
        picture = picture if picture.ndim == 4 else picture[..., None].expand(*picture.shape, 3)
        scale = min(1.0, _PREVIEW_SIDE / max(picture.shape[1:3]))
        size = [max(1, round(side * scale)) for side in picture.shape[1:3]]
        small = F.interpolate(picture.movedim(-1, 1).float().cpu(), size=size, mode="area").movedim(1, -1)
        shown.append(small)
    count = min(len(picture) for picture in shown)
    shown = [picture[:count] for picture in shown]
    return torch.cat([torch.cat(shown[start : start + 3], 2) for start in (0, 3)], 1)
