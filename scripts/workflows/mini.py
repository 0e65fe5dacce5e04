"""Workflows of HanDrawer itself, on the small model that comes with it: a demonstration that needs no download."""

from __future__ import annotations

from .files import Group, Node, Workflow, note
from .parts import DEMONSTRATION, apply, base, decode, encode, pose, preview, render, sampler, save

PHOTO_NOTE = """## A photo steers a picture
1. **Run** it: nothing is downloaded. The hand of the example picture is found and drawn anew.
2. *Load Image* takes the example's place for a photo of your own; **hand** in *Place Hands* picks one of several.
3. Change prompt, seed or strength: only the sampling runs again.
4. The small model is a **demonstration**, trained on synthetic hands: 256 × 256, hands and nothing else.
5. Another model needs its own loader, a HanDrawer file made for it (*Load HanDrawer*), and its picture size."""

# It names the side and the looks, not the gesture: that comes from the photo.
PROMPT = "a right hand, light skin, blue sleeve, grey background, soft light"

PHOTO_TO_PICTURE = Workflow(
    {
        "note": Node("MarkdownNote", (400, 1180), (660, 210), text=PHOTO_NOTE, colour="#432"),
        "picture": Node("HanDrawerExamplePicture", (420, 100), (290, 90), {"picture": "hands.png"}),
        "estimate": Node(
            "HanDrawerEstimateHands",
            (420, 240),
            (290, 400),
            {"image": ("picture", 0), "max_hands": 4, "min_confidence": 0.5},
        ),
        "place": Node(
            "HanDrawerPlaceHands",
            (760, 100),
            (290, 250),
            {
                "hands": ("estimate", 0),
                "width": 256,
                "height": 256,
                "mode": "crop",
                "hand": 0,
                "margin": 0.2,
                "image": ("picture", 0),
            },
        ),
        "render": Node(
            "HanDrawerRenderHands",
            (1100, 100),
            (290, 190),
            {"hands": ("place", 0), "depth_range": "picture", "normal_colours": "bae", "image": ("place", 1)},
        ),
        "depth": Node("PreviewImage", (1440, 100), (300, 330), {"images": ("render", 0)}, "Depth of the hand"),
        "mini": Node("HanDrawerLoadMini", (420, 790), (290, 120)),
        "encode": Node(
            "HanDrawerEncodeHands", (760, 560), (290, 70), {"handrawer": ("mini", 3), "hands": ("place", 0)}
        ),
        "positive": Node("CLIPTextEncode", (760, 790), (290, 140), {"clip": ("mini", 1), "text": PROMPT}, "Prompt"),
        "negative": Node("CLIPTextEncode", (760, 970), (290, 90), {"clip": ("mini", 1), "text": ""}, "Negative prompt"),
        "apply": Node(
            "HanDrawerApply",
            (1100, 790),
            (250, 200),
            {
                "model": ("mini", 0),
                "features": ("encode", 0),
                "strength": 1.0,
                "start_percent": 0.0,
                "end_percent": 1.0,
                "positive": ("positive", 0),
                "negative": ("negative", 0),
            },
        ),
        "latent": Node("EmptyLatentImage", (420, 950), (290, 110), {"width": 256, "height": 256, "batch_size": 1}),
        "sampler": Node(
            "KSampler",
            (1400, 790),
            (260, 270),
            {
                "model": ("apply", 0),
                "positive": ("apply", 1),
                "negative": ("apply", 2),
                "latent_image": ("latent", 0),
                "seed": 8,
                "steps": 20,
                "cfg": 4.0,
                "sampler_name": "euler",
                "scheduler": "normal",
                "denoise": 1.0,
            },
        ),
        "decode": Node("VAEDecode", (1400, 1100), (260, 50), {"samples": ("sampler", 0), "vae": ("mini", 2)}),
        "save": Node(
            "SaveImage",
            (1700, 790),
            (340, 380),
            {"images": ("decode", 0), "filename_prefix": "HanDrawer"},
            "With HanDrawer",
        ),
        "sampler_base": Node(
            "KSampler",
            (1400, 1255),
            (260, 270),
            {
                "model": ("mini", 0),
                "positive": ("positive", 0),
                "negative": ("negative", 0),
                "latent_image": ("latent", 0),
                "seed": 8,
                "steps": 20,
                "cfg": 4.0,
                "sampler_name": "euler",
                "scheduler": "normal",
                "denoise": 1.0,
            },
        ),
        "decode_base": Node("VAEDecode", (1400, 1585), (260, 50), {"samples": ("sampler_base", 0), "vae": ("mini", 2)}),
        "base": Node("PreviewImage", (1700, 1255), (340, 380), {"images": ("decode_base", 0)}, "Without HanDrawer"),
    },
    [
        Group("1  Photo to hands", (400, 20, 1660, 690), "#3f789e"),
        Group("2  Model and prompts", (400, 720, 670, 350), "#8A8"),
        Group("3  Picture, steered by the hand", (1080, 720, 980, 450), "#b58b2a"),
        Group("The same without the hand, to compare", (1380, 1180, 680, 470), "#888"),
    ],
    {
        "estimate": "hands in a picture",
        "depth": "one of them",
        "base": "demonstration model",
        "save": "the same, with HanDrawer",
    },
)


GESTURE_TO_PICTURE = Workflow(
    {
        "note": note(
            f"""## A pose steers a picture
1. **pose** in *Hand Pose Library* says what the hand does; **search** finds poses by tags like `count` or `hold`.
2. **x, y, size** put it where you want it; yaw, pitch and roll turn it. *Hand Poser* takes its place to pose by hand.
3. *Encode Hands* and *Apply HanDrawer* steer the sampler; the prompt says the looks.
4. Change prompt, seed or strength: only the sampling runs again.
5. {DEMONSTRATION}""",
            (400, 660),
        ),
        "pose": pose((420, 100), "love_you"),
        "render": render((760, 100), ("pose", 0)),
        "depth": preview((1100, 100), ("render", 0), "Depth of the hand"),
        **base((420, 920), "a right hand, light skin, blue sleeve, grey background, soft light"),
        "encode": encode((1100, 560)),
        "apply": apply((1100, 920), ("encode", 0)),
        "sampler": sampler((1400, 920), ("apply", 0), ("apply", 1), ("apply", 2), ("latent", 0), seed=3),
        "decode": decode((1400, 1230)),
        "save": save((1700, 920), ("decode", 0), "With HanDrawer"),
    },
    [
        Group("1  A pose of the library", (400, 20, 1040, 600), "#3f789e"),
        Group("2  Model and prompts", (400, 840, 670, 400), "#8A8"),
        Group("3  Picture", (1080, 840, 980, 500), "#b58b2a"),
    ],
    {"depth": "pose of the library", "save": "small demonstration model"},
)

TWO_HANDS = Workflow(
    {
        "note": note(
            f"""## Two hands in one picture
1. Each *Hand Pose Library* makes one hand; *Join Hands* puts both into the same picture.
2. **x, y, size** say where each lies; where they overlap, the nearer one is in front (*Select Hands* can change it).
3. Both steer the sampler together, each in its own place.
4. *Select Hands* can switch one off, or make it weaker.
5. {DEMONSTRATION} It was trained on single hands: two want room, and about this size.""",
            (400, 660),
        ),
        "first": pose((420, 100), "peace", "right", x=0.27, y=0.5, size=0.62),
        "second": pose((760, 100), "open", "left", x=0.73, y=0.5, size=0.62),
        "join": Node(
            "HanDrawerJoinHands", (1100, 100), (290, 130),
            {"hands": ("first", 0), "mode": "same pictures", "repeat": 1, "more": ("second", 0)},
        ),
        "render": render((1100, 290), ("join", 0)),
        "parts": preview((1440, 100), ("render", 2), "Both hands"),
        **base((420, 920), "a hand, light skin, blue sleeve, grey background, soft light"),
        "encode": encode((1440, 560), ("join", 0)),
        "apply": apply((1100, 920), ("encode", 0)),
        "sampler": sampler((1400, 920), ("apply", 0), ("apply", 1), ("apply", 2), ("latent", 0), seed=2),
        "decode": decode((1400, 1230)),
        "save": save((1700, 920), ("decode", 0), "With HanDrawer"),
    },
    [
        Group("1  Two poses, joined", (400, 20, 1360, 610), "#3f789e"),
        Group("2  Model and prompts", (400, 840, 670, 400), "#8A8"),
        Group("3  Picture", (1080, 840, 980, 500), "#b58b2a"),
    ],
    {"save": "two hands (demonstration model)"},
)  # fmt: skip

HIRES_FIX = Workflow(
    {
        "note": note(
            f"""## A second pass at twice the size, the hand still in place
1. The first pass draws 256 × 256, steered by the hand.
2. The latent is enlarged, and drawn again over itself (*denoise* 0.45).
3. The same *Apply HanDrawer* serves both passes: it makes its maps for each size by itself.
4. Lower *denoise* keeps more of the first picture; higher adds more detail.
5. {DEMONSTRATION} A real model gains more from the second pass.""",
            (400, 660),
        ),
        "pose": pose((420, 100), "peace"),
        "encode": encode((760, 100)),
        **base((420, 920), "a right hand, tan skin, white sleeve, green background, warm light"),
        "apply": apply((1100, 920), ("encode", 0)),
        "sampler": sampler((1400, 920), ("apply", 0), ("apply", 1), ("apply", 2), ("latent", 0), seed=4),
        "decode": decode((1400, 1230)),
        "small": preview((1700, 920), ("decode", 0), "First pass, 256 × 256"),
        "larger": Node(
            "LatentUpscaleBy", (1100, 1400), (250, 90),
            {"samples": ("sampler", 0), "upscale_method": "bilinear", "scale_by": 2.0},
        ),
        "second": sampler(
            (1400, 1400), ("apply", 0), ("apply", 1), ("apply", 2), ("larger", 0), seed=4, denoise=0.45
        ),
        "decode_second": decode((1400, 1710), ("second", 0)),
        "save": save((1700, 1400), ("decode_second", 0), "Second pass, 512 × 512"),
    },
    [
        Group("1  A pose", (400, 20, 670, 600), "#3f789e"),
        Group("2  Model and prompts", (400, 840, 670, 400), "#8A8"),
        Group("3  First pass", (1080, 840, 980, 450), "#b58b2a"),
        Group("4  Second pass", (1080, 1320, 980, 520), "#b58b2a"),
    ],
    {"small": "first pass, 256 x 256", "save": "second pass, 512 x 512 (demo)"},
)  # fmt: skip

INPAINT_HAND = Workflow(
    {
        "note": note(
            f"""## Only the hand is drawn anew
1. The hand of the picture is found; *Hand Mask* says what round it may change.
2. *Set Latent Noise Mask* keeps the rest in the sampler, *Image Composite Masked* every other pixel of the picture.
3. For a hand in a large picture see the workflow that repairs one: *Crop Hands* and *Stitch Hands*.
4. The prompt says the hand's new looks; *Hand Pose Library* or *Hand Poser* can give it another pose.
5. {DEMONSTRATION}""",
            (400, 860),
        ),
        "picture": Node("HanDrawerExamplePicture", (420, 100), (290, 90), {"picture": "hands.png"}),
        "found": Node(
            "HanDrawerEstimateHands", (420, 240), (290, 400),
            {"image": ("picture", 0), "max_hands": 4, "min_confidence": 0.5},
        ),
        "place": Node(
            "HanDrawerPlaceHands", (760, 100), (290, 250),
            {"hands": ("found", 0), "width": 256, "height": 256, "mode": "crop", "hand": 1, "margin": 0.02,
             "image": ("picture", 0)},
        ),
        "before": preview((760, 420), ("place", 1), "Before"),
        "mask": Node(
            "HanDrawerHandMask", (1100, 100), (290, 330),
            {"hands": ("place", 0), "shape": "hull", "padding": 0.05, "feather": 0.05, "masks": "one for each picture"},
        ),
        **base((420, 1120), "a left hand, open palm, brown skin, black sleeve, beige background, soft light"),
        "vae_encode": Node("VAEEncode", (420, 1430), (290, 50), {"pixels": ("place", 1), "vae": ("mini", 2)}),
        "noise_mask": Node(
            "SetLatentNoiseMask", (760, 1430), (290, 50), {"samples": ("vae_encode", 0), "mask": ("mask", 0)}
        ),
        "encode": encode((1100, 700), ("place", 0)),
        "apply": apply((1100, 1120), ("encode", 0)),
        "sampler": sampler((1400, 1120), ("apply", 0), ("apply", 1), ("apply", 2), ("noise_mask", 0), seed=2),
        "decode": decode((1400, 1430)),
        "composite": Node(
            "ImageCompositeMasked", (1100, 1430), (250, 170),
            {"destination": ("place", 1), "source": ("decode", 0), "x": 0, "y": 0, "resize_source": False,
             "mask": ("mask", 0)},
        ),
        "save": save((1700, 1120), ("composite", 0), "The hand redrawn", "photo with parts made by a model"),
    },
    [
        Group("1  The hand and its mask", (400, 20, 1010, 800), "#3f789e"),
        Group("2  Model and prompts", (400, 1040, 670, 470), "#8A8"),
        Group("3  Only inside the mask", (1080, 1040, 980, 540), "#b58b2a"),
    ],
    {"before": "before", "save": "only the hand anew (demo)"},
)  # fmt: skip
del INPAINT_HAND.nodes["latent"]

STYLES = (
    "a right hand, pale skin, black sleeve, blue background, cool light",
    "a right hand, brown skin, white sleeve, beige background, warm light",
    "a right hand, dark skin, red nails, green sleeve, grey background, left light",
    "a right hand, tan skin, bare arm, dark background, right light",
)


def contact_sheet() -> Workflow:
    nodes = {
        "note": note(
            f"""## One pose in several styles
1. The pose is encoded once; each style has its own prompt and goes through *Apply HanDrawer* by itself.
2. The same seed and the same hand: what differs is the prompt.
3. Copy a column with Ctrl+C and Ctrl+Shift+V to add a style: its wires come along.
4. *Image Stitch* makes one sheet of all.
5. {DEMONSTRATION}""",
            (400, 660),
        ),
        "pose": pose((420, 100), "vulcan"),
        "mini": Node("HanDrawerLoadMini", (760, 100), (290, 120)),
        "encode": encode((760, 280)),
        "latent": Node("EmptyLatentImage", (760, 410), (290, 110), {"width": 256, "height": 256, "batch_size": 1}),
        "negative": Node(
            "CLIPTextEncode", (1100, 100), (290, 90), {"clip": ("mini", 1), "text": ""}, "Negative prompt"
        ),
    }
    for number, style in enumerate(STYLES):
        x = 420 + 340 * number
        nodes[f"positive{number}"] = Node(
            "CLIPTextEncode", (x, 940), (290, 140), {"clip": ("mini", 1), "text": style}, f"Style {number + 1}"
        )
        nodes[f"apply{number}"] = apply((x, 1120), ("encode", 0), positive=(f"positive{number}", 0))
        steered = [(f"apply{number}", output) for output in range(3)]
        nodes[f"sampler{number}"] = sampler((x, 1370), steered[0], steered[1], steered[2], ("latent", 0), seed=7)
        nodes[f"decode{number}"] = decode((x, 1690), (f"sampler{number}", 0))
    together = {"match_image_size": True, "spacing_width": 0, "spacing_color": "white"}
    for name, first, second, direction, y in (
        ("upper", ("decode0", 0), ("decode1", 0), "right", 940),
        ("lower", ("decode2", 0), ("decode3", 0), "right", 1150),
        ("all", ("upper", 0), ("lower", 0), "down", 1360),
    ):
        inputs = {"image1": first, "image2": second, "direction": direction, **together}
        nodes[name] = Node("ImageStitch", (1780, y), (260, 160), inputs)
    nodes["save"] = save((2080, 940), ("all", 0), "The sheet")
    groups = [
        Group("1  Pose and model", (400, 20, 1010, 600), "#3f789e"),
        Group("2  A column for each style", (400, 860, 1340, 900), "#b58b2a"),
        Group("3  Sheet", (1760, 860, 680, 680), "#8A8"),
    ]
    return Workflow(nodes, groups, {"save": "one pose, four prompts (demo)"})


WORKFLOWS = {
    "HanDrawer - photo to picture": PHOTO_TO_PICTURE,
    "HanDrawer - gesture to picture": GESTURE_TO_PICTURE,
    "HanDrawer - two hands": TWO_HANDS,
    "HanDrawer - hires fix": HIRES_FIX,
    "HanDrawer - inpaint only the hand": INPAINT_HAND,
    "HanDrawer - one pose in several styles": contact_sheet(),
}
