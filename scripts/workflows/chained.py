"""Workflows around a sampler, shown on the small model: the best of a batch, a repair, training on the canvas."""

from __future__ import annotations

from .files import Group, Node, Workflow, note
from .parts import DEMONSTRATION, apply, base, decode, encode, pose, preview, sampler, save

BEST_OF = Workflow(
    {
        "note": note(
            f"""## A batch, and the best hand of it
1. Eight pictures are drawn from text alone, **without** HanDrawer: any model can stand here, Flux and Qwen too.
2. *Pick Best Hands* judges the hands of each picture and keeps the best one; **count** keeps more.
3. *all above the bar* passes on every picture that is good enough, or nothing.
4. The judge does not know what you wanted; connect **wanted** hands, and the match counts too. It errs: look yourself.
5. {DEMONSTRATION}""",
            (400, 20),
        ),
        **base((420, 340), "a right hand, open palm, light skin, blue sleeve, grey background, soft light", batch=8),
        "sampler": sampler((1100, 340), ("mini", 0), ("positive", 0), ("negative", 0), ("latent", 0), seed=14),
        "decode": decode((1100, 650)),
        "all": preview((1400, 760), ("decode", 0), "All of them"),
        "pick": Node(
            "HanDrawerPickBest", (1400, 340), (300, 330),
            {"image": ("decode", 0), "keep": "the best ones", "count": 1, "bar": 0.5, "if_none": "the best one",
             "thoroughness": "fast", "latent": ("sampler", 0)},
        ),
        "save": save((1740, 340), ("pick", 0), "The best"),
    },
    [
        Group("1  Any generator", (400, 260, 980, 480), "#8A8"),
        Group("2  The best of its pictures", (1390, 260, 710, 860), "#b58b2a"),
    ],
    {("all", 0): "drawn 1", ("all", 1): "drawn 2", ("all", 2): "drawn 3", "save": "picked of eight (demo)"},
)  # fmt: skip

REPAIR = Workflow(
    {
        "note": note(
            f"""## A malformed hand is found, fitted, redrawn and put back
1. Any picture can come in. *Score Hands* judges its hands: what is below **good from** is redrawn, good hands stay.
2. *Crop Hands* cuts the bad ones out; what is drawn anew is the possible hand that explains each best.
3. HanDrawer steers the redrawing of the crop, at the model's full size.
4. *Stitch Hands* puts it back in matching colours; outside of *Crop Hands*' mask every pixel stays, bit for bit.
5. {DEMONSTRATION} For your pictures use the model they were made with (and a HanDrawer file or a depth ControlNet).""",
            (400, 20), (900, 210),
        ),
        "picture": Node("HanDrawerExamplePicture", (420, 340), (290, 90), {"picture": "malformed_hand.png"}),
        "score": Node(
            "HanDrawerScoreHands", (420, 480), (290, 660),
            {"image": ("picture", 0), "good_from": 0.5, "max_hands": 4, "thoroughness": "fast"},
        ),
        "crop": Node(
            "HanDrawerCropHands", (760, 340), (290, 480),
            {"hands": ("score", 0), "image": ("picture", 0), "size": 256, "margin": 0.15, "numbers": "",
             "mask_shape": "hull", "mask_padding": 0.1, "mask_feather": 0.06, "mask": ("score", 3)},
        ),
        **base((420, 1390), "a right hand, back view, light skin, blue sleeve, blue background, cool light"),
        "vae_encode": Node("VAEEncode", (1100, 340), (260, 50), {"pixels": ("crop", 0), "vae": ("mini", 2)}),
        "noise_mask": Node(
            "SetLatentNoiseMask", (1100, 440), (260, 50), {"samples": ("vae_encode", 0), "mask": ("crop", 1)}
        ),
        "encode": encode((1100, 550), ("crop", 2)),
        "apply": apply((1100, 1390), ("encode", 0)),
        "sampler": sampler(
            (1400, 1390), ("apply", 0), ("apply", 1), ("apply", 2), ("noise_mask", 0), seed=2, denoise=0.65
        ),
        "decode": decode((1400, 1700)),
        "stitch": Node(
            "HanDrawerStitchHands", (1400, 340), (290, 130),
            {"stitch": ("crop", 3), "crops": ("decode", 0), "match_colours": True, "feather": 0.03},
        ),
        "before": preview((1740, 340), ("score", 4), "Before, judged"),
        "save": save((1740, 760), ("stitch", 0), "Repaired", "photo with parts made by a model"),
    },
    [
        Group("1  Found and judged, cut out", (400, 260, 980, 910), "#3f789e"),
        Group("2  Model and prompts", (400, 1310, 670, 400), "#8A8"),
        Group("3  Redrawn", (1080, 1310, 620, 480), "#b58b2a"),
        Group("4  Put back", (1390, 260, 710, 1020), "#b58b2a"),
    ],
    {"crop": "before, cut out", "save": "redrawn and put back (demo)"},
    inset="upper left",
)  # fmt: skip
del REPAIR.nodes["latent"]

TRAIN = Workflow(
    {
        "note": note(
            f"""## An adapter trained on the canvas
1. The pictures and their hands are the lesson; *Train HanDrawer* makes an adapter for the connected model.
2. A few steps show that it works; a useful adapter wants thousands of pictures and steps (see docs/training.md).
3. *Save HanDrawer* keeps it; *Load HanDrawer* lists it after a refresh.
4. **handrawer** goes on from an adapter: here from the small model's own.
5. {DEMONSTRATION}""",
            (400, 20),
        ),
        "picture": Node("HanDrawerExamplePicture", (420, 340), (290, 90), {"picture": "hands.png"}),
        "found": Node(
            "HanDrawerEstimateHands", (420, 480), (290, 400),
            {"image": ("picture", 0), "max_hands": 4, "min_confidence": 0.5},
        ),
        "place": Node(
            "HanDrawerPlaceHands", (760, 340), (290, 250),
            {"hands": ("found", 0), "width": 256, "height": 256, "mode": "crop", "hand": 0, "margin": 0.2,
             "image": ("picture", 0)},
        ),
        "mini": Node("HanDrawerLoadMini", (760, 660), (290, 120)),
        "train": Node(
            "HanDrawerTrain", (1100, 340), (320, 480),
            {"model": ("mini", 0), "clip": ("mini", 1), "vae": ("mini", 2), "steps": 8, "batch": 1,
             "learning_rate": 0.00002, "seed": 1, "captions": "a right hand, light skin, grey background, soft light",
             "images": ("place", 1), "hands": ("place", 0), "handrawer": ("mini", 3)},
        ),
        "keep": Node(
            "HanDrawerSave", (1460, 340), (300, 150),
            {"handrawer": ("train", 0), "filename_prefix": "my_hands", "folder": "output"},
        ),
        "pose": pose((420, 960), "three_thumb"),
        "encode": Node(
            "HanDrawerEncodeHands", (760, 960), (290, 70), {"handrawer": ("train", 0), "hands": ("pose", 0)}
        ),
        "positive": Node(
            "CLIPTextEncode", (760, 1090), (290, 140),
            {"clip": ("mini", 1), "text": "a right hand, light skin, blue sleeve, grey background, soft light"},
            "Prompt",
        ),
        "negative": Node(
            "CLIPTextEncode", (760, 1270), (290, 90), {"clip": ("mini", 1), "text": ""}, "Negative prompt"
        ),
        "latent": Node("EmptyLatentImage", (760, 1400), (290, 110), {"width": 256, "height": 256, "batch_size": 1}),
        "apply": apply((1100, 960), ("encode", 0)),
        "sampler": sampler((1400, 960), ("apply", 0), ("apply", 1), ("apply", 2), ("latent", 0), seed=9),
        "decode": decode((1400, 1270)),
        "save": save((1700, 960), ("decode", 0), "Drawn with the trained adapter"),
    },
    [
        Group("1  Lesson", (400, 260, 670, 640), "#3f789e"),
        Group("2  Training", (1080, 260, 700, 600), "#8A8"),
        Group("3  Trial", (400, 880, 1660, 660), "#b58b2a"),
    ],
    {"found": "the lesson", "save": "drawn after training (demo)"},
)  # fmt: skip

WORKFLOWS = {
    "Any model - best of a batch": BEST_OF,
    "Any model - repair a malformed hand": REPAIR,
    "HanDrawer - train on the canvas": TRAIN,
}
