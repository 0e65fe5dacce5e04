"""Hands from files and pose keypoints, chosen, joined and moved, in a real graph."""

import io as bytes_io
import json
import re

import numpy as np
from PIL import Image

from tests.host.server import Server
from tests.host.workflows import gesture_to_picture, node, without_handrawer

STILL = {
    "crop_x": 0, "crop_y": 0, "crop_width": 0, "crop_height": 0, "flip": "none", "rotate": 0.0, "expand": True,
    "resize_width": 0, "resize_height": 0, "resize_mode": "contain", "pad_left": 0, "pad_top": 0, "pad_right": 0,
    "pad_bottom": 0,
}  # fmt: skip
CHOICE = {
    "numbers": "0", "x": 0.5, "y": 0.5, "invert": False, "others": "drop", "enabled": "unchanged", "weight": 1.0,
    "order": "unchanged", "side": "unchanged",
}  # fmt: skip


def gesture(side: str, x: float) -> dict:
    return node(
        "HanDrawerGesture", gesture="open", side=side, x=x, y=0.5, size=0.6, yaw=0.0, pitch=0.0, roll=0.0, width=320,
        height=192,
    )  # fmt: skip


def shown(host: Server, outputs: dict, name: str) -> np.ndarray:
    (image,) = outputs[name]["images"]
    return np.asarray(Image.open(bytes_io.BytesIO(host.picture(image))).convert("L"))


def test_every_source_and_every_way_of_moving_in_one_graph(host: Server):
    workflow = {
        "1": gesture("left", 0.75),
        "2": gesture("right", 0.25),
        "3": node("HanDrawerJoinHands", hands=["1", 0], mode="same pictures", repeat=1, more=["2", 0]),
        "4": node("HanDrawerSaveHands", hands=["3", 0], filename_prefix="test/both"),
        "5": node("HanDrawerLoadHands", file="(from text)", text=["4", 0]),
        "6": node("HanDrawerSelectHands", hands=["5", 0], choose="right", **CHOICE),
        "7": node("HanDrawerRenderHands", hands=["6", 0], depth_range="picture", normal_colours="bae"),
        "8": node("MaskToImage", mask=["7", 4]),
        "9": node("HanDrawerTransformHands", hands=["6", 0], image=["8", 0],
                  **{**STILL, "crop_width": 160, "flip": "horizontally", "rotate": 90.0, "resize_width": 384}),
        "10": node("HanDrawerPoseFromHands", hands=["9", 0], coordinates="pixels"),
        "11": node("HanDrawerHandsFromPose", min_confidence=0.3, sides="by wrists", pose_keypoint=["10", 0],
                   image=["9", 1]),
        "12": node("HanDrawerPasteHandsBack", hands=["9", 0], transform=["9", 2], feather=0, image=["9", 1],
                   original=["8", 0]),
        "13": node("HanDrawerRenderHands", hands=["12", 0], depth_range="picture", normal_colours="bae"),
        "14": node("MaskToImage", mask=["13", 4]),
        "15": node("HanDrawerRenderHands", hands=["11", 0], depth_range="picture", normal_colours="bae"),
        "16": node("MaskToImage", mask=["15", 4]),
        "20": node("PreviewImage", images=["8", 0]),
        "21": node("PreviewImage", images=["9", 1]),
        "22": node("PreviewImage", images=["14", 0]),
        "23": node("PreviewImage", images=["12", 1]),
        "24": node("PreviewImage", images=["16", 0]),
        "25": node("PreviewAny", source=["6", 2]),
        "26": node("PreviewAny", source=["10", 0]),
    }  # fmt: skip
    outputs = host.succeed(workflow)
    assert outputs["25"]["text"] == ["Chosen: hand 1 (right)."]
    before, moved, again, pasted, fitted = (shown(host, outputs, name) for name in ("20", "21", "22", "23", "24"))
    assert before[:, 160:].max() == 0 < before[:, :160].max(), "the right hand alone"
    assert moved.shape == (320, 384) == fitted.shape and (moved > 128).mean() > 0.1
    assert np.abs(before.astype(int) - again).max() <= 1, "the hands are back"
    assert np.abs(before.astype(int) - pasted).mean() < 1.5, "so is the picture"
    agree = ((moved > 128) & (fitted > 128)).sum() / ((moved > 128) | (fitted > 128)).sum()
    assert agree > 0.85, "from its 21 points alone the hand is found again"
    assert json.loads(json.dumps(outputs["26"]["text"])) and "hand_left_keypoints_2d" in outputs["26"]["text"][0]

    # The file is one of the node's choices now, and is read again when it was edited.
    (saved,) = (host.base / "output" / "test").glob("both_*_.json")
    name = f"test/{saved.name} [output]"
    (info,) = host.get("/object_info/HanDrawerLoadHands").values()
    assert name in info["input"]["required"]["file"][1]["options"]
    loading = {
        "5": node("HanDrawerLoadHands", file=name, text=""),
        "6": node("HanDrawerSelectHands", hands=["5", 0], choose="left", **CHOICE),
        "25": node("PreviewAny", source=["6", 2]),
    }
    assert host.succeed(loading)["25"]["text"] == ["Chosen: hand 0 (left)."]
    text = saved.read_text(encoding="utf-8")
    saved.write_text(re.sub(r'"side": "left"', '"side": "right"', text), encoding="utf-8")
    assert "Nothing chosen" in host.succeed(loading)["25"]["text"][0]
    saved.write_text("{", encoding="utf-8")
    assert host.fail(loading).startswith("file: This is not a file of hands: it is not JSON")


def test_a_crop_is_drawn_with_its_hand_and_pasted_back(host: Server):
    """The way of crop-and-stitch nodes: cut, draw the cut alone, put it back; the hand goes along."""
    workflow = gesture_to_picture(seed=171)
    workflow["3"]["inputs"] |= {"width": 512, "height": 384, "x": 0.72, "y": 0.5, "size": 0.45}
    workflow["20"] = node("EmptyImage", width=512, height=384, batch_size=1, color=0x406080)
    cut = {**STILL, "crop_x": 240, "crop_y": 64, "crop_width": 256, "crop_height": 256}
    workflow["21"] = node("HanDrawerTransformHands", hands=["3", 0], image=["20", 0], **cut)
    workflow["7"]["inputs"]["hands"] = ["21", 0]
    workflow["11"] = node("VAEEncode", pixels=["21", 1], vae=["6", 2])
    workflow["22"] = node("HanDrawerPasteHandsBack", hands=["21", 0], transform=["21", 2], feather=0, image=["13", 0],
                          original=["20", 0])  # fmt: skip
    workflow["23"] = node("HanDrawerRenderHands", hands=["22", 0], depth_range="picture", normal_colours="bae")
    workflow["24"] = node("MaskToImage", mask=["23", 4])
    workflow["14"]["inputs"]["images"] = ["22", 1]
    workflow["25"] = node("PreviewImage", images=["24", 0])
    outputs = host.succeed(workflow)
    steered, mask = shown(host, outputs, "14").astype(int), shown(host, outputs, "25")
    base = shown(host, host.succeed(without_handrawer(workflow)), "14")
    difference, inside = np.abs(steered - base), np.zeros((384, 512), dtype=bool)
    inside[64:320, 240:496] = True
    assert difference[~inside].max() == 0 and len(np.unique(steered[~inside])) == 1, "the rest is the old picture"
    hand = mask > 128
    assert hand[inside].sum() == hand.sum() > 3000
    assert difference[hand].mean() > 1.5 * difference[inside & ~hand].mean()
