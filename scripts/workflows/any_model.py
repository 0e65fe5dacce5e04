"""Workflows of use with models that need a download: hands as depth pictures for ControlNets."""

from __future__ import annotations

from .files import Group, Model, Node, Workflow, note

HUB = "https://huggingface.co"
SDXL = Model(
    "sd_xl_base_1.0.safetensors",
    f"{HUB}/stabilityai/stable-diffusion-xl-base-1.0/resolve/main/sd_xl_base_1.0.safetensors",
    "checkpoints",
)
SDXL_DEPTH = Model(
    "controlnet-depth-sdxl-1.0.safetensors",
    f"{HUB}/xinsir/controlnet-depth-sdxl-1.0/resolve/main/diffusion_pytorch_model.safetensors",
    "controlnet",
)
FLUX = Model(
    "flux1-dev.safetensors", f"{HUB}/black-forest-labs/FLUX.1-dev/resolve/main/flux1-dev.safetensors",
    "diffusion_models",
)  # fmt: skip
FLUX_DEPTH = Model(
    "flux1-dev-controlnet-depth.safetensors",
    f"{HUB}/Shakker-Labs/FLUX.1-dev-ControlNet-Depth/resolve/main/diffusion_pytorch_model.safetensors",
    "controlnet",
)
CLIP_L = Model(
    "clip_l.safetensors", f"{HUB}/comfyanonymous/flux_text_encoders/resolve/main/clip_l.safetensors", "text_encoders"
)
T5 = Model(
    "t5xxl_fp16.safetensors", f"{HUB}/comfyanonymous/flux_text_encoders/resolve/main/t5xxl_fp16.safetensors",
    "text_encoders",
)  # fmt: skip
FLUX_VAE = Model("ae.safetensors", f"{HUB}/black-forest-labs/FLUX.1-schnell/resolve/main/ae.safetensors", "vae")

PROMPT = "photo of a person's hand, natural skin, soft daylight, shallow depth of field"
BAD = "deformed hand, extra fingers, fused fingers, blurry, text"


def controlled(at, control_net, image, **changes) -> Node:
    inputs = {
        "positive": ("positive", 0), "negative": ("negative", 0), "control_net": control_net, "image": image,
        "strength": 0.8, "start_percent": 0.0, "end_percent": 0.7,
    }  # fmt: skip
    return Node("ControlNetApplyAdvanced", at, (290, 190), inputs | changes)


PHOTO_TO_SDXL = Workflow(
    {
        "note": note(
            """## The hand of a photo, as depth for an SDXL ControlNet
1. Without any model: the hands of the example picture are found and drawn as depth. *Load Image* takes your photo.
2. **mode** and **hand** in *Place Hands* say which hand comes into the new picture, and how.
3. The depth picture goes to a depth ControlNet; the button on the missing models' list names where they are had.
4. **strength** 0.6 to 0.9 and an **end_percent** of 0.7 leave the model room for skin and light.
5. With other models (SD 1.5, Z-Image, Qwen) only the loaders and the ControlNet change: the depth is the same.""",
            (400, 680), (760, 230),
        ),
        "picture": Node("HanDrawerExamplePicture", (420, 100), (290, 90), {"picture": "hands.png"}),
        "found": Node(
            "HanDrawerEstimateHands", (420, 240), (290, 400),
            {"image": ("picture", 0), "max_hands": 4, "min_confidence": 0.5},
        ),
        "place": Node(
            "HanDrawerPlaceHands", (760, 100), (290, 250),
            {"hands": ("found", 0), "width": 1024, "height": 1024, "mode": "crop", "hand": 0, "margin": 0.15,
             "image": ("picture", 0)},
        ),
        "render": Node(
            "HanDrawerRenderHands", (1100, 100), (290, 570),
            {"hands": ("place", 0), "depth_range": "picture", "normal_colours": "bae", "image": ("place", 1)},
        ),
        "depth": Node("PreviewImage", (1440, 100), (300, 330), {"images": ("render", 0)}, "Depth for the ControlNet"),
        "overlay": Node("PreviewImage", (1780, 100), (300, 330), {"images": ("render", 5)}, "The hand that was found"),
        "model": Node(
            "CheckpointLoaderSimple", (420, 1000), (290, 110), {"ckpt_name": SDXL.name}, models=(SDXL,)
        ),
        "control_net": Node(
            "ControlNetLoader", (420, 1160), (290, 70), {"control_net_name": SDXL_DEPTH.name}, models=(SDXL_DEPTH,)
        ),
        "latent": Node("EmptyLatentImage", (420, 1280), (290, 110), {"width": 1024, "height": 1024, "batch_size": 1}),
        "positive": Node("CLIPTextEncode", (760, 1000), (290, 140), {"clip": ("model", 1), "text": PROMPT}, "Prompt"),
        "negative": Node(
            "CLIPTextEncode", (760, 1180), (290, 110), {"clip": ("model", 1), "text": BAD}, "Negative prompt"
        ),
        "apply": controlled((1100, 1000), ("control_net", 0), ("render", 0), vae=("model", 2)),
        "sampler": Node(
            "KSampler", (1440, 1000), (260, 270),
            {"model": ("model", 0), "positive": ("apply", 0), "negative": ("apply", 1), "latent_image": ("latent", 0),
             "seed": 1, "steps": 28, "cfg": 6.0, "sampler_name": "dpmpp_2m", "scheduler": "karras", "denoise": 1.0},
        ),
        "decode": Node("VAEDecode", (1440, 1310), (260, 50), {"samples": ("sampler", 0), "vae": ("model", 2)}),
        "save": Node(
            "HanDrawerSaveImage", (1780, 1000), (340, 400),
            {"images": ("decode", 0), "filename_prefix": "HanDrawer", "origin": "made by a model"},
        ),
    },
    [
        Group("1  Photo to depth", (400, 20, 1700, 640), "#3f789e"),
        Group("2  SDXL, a depth ControlNet and prompts", (400, 930, 1010, 480), "#8A8"),
        Group("3  Picture", (1420, 930, 720, 500), "#b58b2a"),
    ],
    {"overlay": "the hand of a photo", "depth": "depth for a ControlNet"},
    runs=False,
)  # fmt: skip

GESTURE_TO_FLUX = Workflow(
    {
        "note": note(
            """## A pose, as depth for a Flux ControlNet
1. Without any model: *Hand Pose Library* makes a hand, *Render Hands* its depth. *Hand Poser* poses by hand.
2. **x, y, size** say where in the picture it lies; *Join Hands* adds a second one.
3. The depth picture goes to the ControlNet; the button on the missing models' list names where they are had.
4. Flux is steered best at a **strength** of 0.5 to 0.7, up to 60 % of the steps.
5. Say in the prompt what the hand does, too.""",
            (400, 680), (760, 230),
        ),
        "pose": Node(
            "HanDrawerPoseLibrary", (420, 100), (290, 800),
            {"search": "", "pose": "hold_ball", "side": "right", "x": 0.5, "y": 0.52, "size": 0.75, "yaw": 0.0,
             "pitch": 0.0, "roll": 0.0, "width": 1024, "height": 1024},
        ),
        "render": Node(
            "HanDrawerRenderHands", (760, 100), (290, 570),
            {"hands": ("pose", 0), "depth_range": "picture", "normal_colours": "bae"},
        ),
        "depth": Node("PreviewImage", (1100, 100), (300, 330), {"images": ("render", 0)}, "Depth for the ControlNet"),
        "parts": Node("PreviewImage", (1440, 100), (300, 330), {"images": ("render", 2)}, "Its parts"),
        "model": Node(
            "UNETLoader", (420, 1000), (290, 90), {"unet_name": FLUX.name, "weight_dtype": "default"}, models=(FLUX,)
        ),
        "clip": Node(
            "DualCLIPLoader", (420, 1140), (290, 130),
            {"clip_name1": CLIP_L.name, "clip_name2": T5.name, "type": "flux"}, models=(CLIP_L, T5),
        ),
        "vae": Node("VAELoader", (420, 1320), (290, 70), {"vae_name": FLUX_VAE.name}, models=(FLUX_VAE,)),
        "control_net": Node(
            "ControlNetLoader", (420, 1440), (290, 70), {"control_net_name": FLUX_DEPTH.name}, models=(FLUX_DEPTH,)
        ),
        "positive_text": Node(
            "CLIPTextEncode", (760, 1000), (290, 140),
            {"clip": ("clip", 0), "text": "close photo of a right hand holding a glass ball, studio light"},
            "Prompt",
        ),
        "positive": Node(
            "FluxGuidance", (760, 1180), (290, 70), {"conditioning": ("positive_text", 0), "guidance": 3.5}
        ),
        "negative": Node(
            "CLIPTextEncode", (760, 1300), (290, 90), {"clip": ("clip", 0), "text": ""},
            "Negative prompt (unused at cfg 1)",
        ),
        "latent": Node(
            "EmptySD3LatentImage", (760, 1430), (290, 110), {"width": 1024, "height": 1024, "batch_size": 1}
        ),
        "apply": controlled(
            (1100, 1000), ("control_net", 0), ("render", 0), vae=("vae", 0), strength=0.6, end_percent=0.6
        ),
        "sampler": Node(
            "KSampler", (1440, 1000), (260, 270),
            {"model": ("model", 0), "positive": ("apply", 0), "negative": ("apply", 1), "latent_image": ("latent", 0),
             "seed": 1, "steps": 24, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0},
        ),
        "decode": Node("VAEDecode", (1440, 1310), (260, 50), {"samples": ("sampler", 0), "vae": ("vae", 0)}),
        "save": Node(
            "HanDrawerSaveImage", (1780, 1000), (340, 400),
            {"images": ("decode", 0), "filename_prefix": "HanDrawer", "origin": "made by a model"},
        ),
    },
    [
        Group("1  Pose to depth", (400, 20, 1360, 600), "#3f789e"),
        Group("2  Flux, a depth ControlNet and prompts", (400, 930, 1010, 640), "#8A8"),
        Group("3  Picture", (1420, 930, 720, 500), "#b58b2a"),
    ],
    {"parts": "a pose of the library", "depth": "depth for a ControlNet"},
    runs=False,
)  # fmt: skip

WORKFLOWS = {
    "Any model - photo to depth for ControlNet": PHOTO_TO_SDXL,
    "Any model - gesture to depth for Flux": GESTURE_TO_FLUX,
}
