"""The hand poser in ComfyUI's own page: what is done with it, and that the server draws what it shows."""

import base64
import io
import json
import math

import numpy as np
import pytest
from PIL import Image

from handrawer.hand.poser import dump_state, parse_state, start_state
from tests.browser.conftest import BEHIND, scene
from tests.host.server import ROOT, Server
from tests.host.workflows import node

OVERLAP = 0.97  # of what the widget shows and what the server draws
LEGIBLE = 3.0  # contrast that WCAG asks of controls and large text


def covered(data: bytes) -> np.ndarray:
    """Where a picture of a mask is white."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("L")).astype(int) > 127


def shown(picture: dict) -> np.ndarray:
    return covered(base64.b64decode(picture["picture"].split(",")[1]))


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    inner = (slice(3, -3), slice(3, -3))  # the stage draws a line around the picture
    a, b = a[inner], b[inner]
    return float((a & b).sum() / (a | b).sum())


def drawn(host: Server, inputs: dict) -> np.ndarray:
    """The server's mask of a poser's hands."""
    outputs = host.succeed(
        {
            "1": node("HanDrawerPoser", **inputs),
            "2": node("HanDrawerRenderHands", hands=["1", 0], depth_range="picture", normal_colours="bae"),
            "3": node("MaskToImage", mask=["2", 4]),
            "4": node("PreviewImage", images=["3", 0]),
        }
    )
    return covered(view(host, outputs["4"]["images"][0]))


def view(host: Server, image: dict) -> bytes:
    return host.read(f"/view?filename={image['filename']}&subfolder={image['subfolder']}&type={image['type']}")


def poser_inputs(prompt: dict) -> dict:
    (entry,) = (entry for entry in prompt.values() if entry["class_type"] == "HanDrawerPoser")
    return entry["inputs"]


def test_the_server_draws_what_the_widget_shows(seen: dict, host: Server):
    found = scene(seen, "silhouettes")["found"]
    overlaps = []
    for picture in found:
        assert picture["factor"] > 0.7, "the stage is large enough to compare"
        inputs = poser_inputs(picture["prompt"])
        assert [inputs["width"], inputs["height"]] == picture["size"]
        server = drawn(host, inputs)
        assert server.shape == tuple(picture["size"][::-1]) and server.mean() > 0.01
        overlaps.append(overlap(server, shown(picture)))
    print("overlap of silhouettes:", " ".join(f"{value:.4f}" for value in overlaps))
    assert min(overlaps) >= OVERLAP, overlaps


def test_the_overlap_can_fail(seen: dict):
    """Another hand's silhouette, and the same one a twentieth of the picture aside."""
    first, second = (shown(picture) for picture in scene(seen, "silhouettes")["found"][:4:3])
    assert overlap(first, second) < 0.9
    assert overlap(first, np.roll(first, 26, axis=1)) < OVERLAP


def test_mouse(seen: dict):
    steps = scene(seen, "mouse")
    start = start_state().hands[0]
    assert steps["empty"] == "", "nothing was posed, nothing is kept"
    assert steps["moved"]["translation"][0] > start.translation[0] + 0.02
    assert steps["moved"]["translation"][2] == pytest.approx(start.translation[2], abs=1e-5)
    assert steps["moved"]["angles"] == pytest.approx(start.angles, abs=1e-6)
    pulled, moved = np.array(steps["pulled"]["angles"]), np.array(steps["moved"]["angles"])
    own = [5, 6, 7, 8]
    assert pulled[[5, 7]].sum() > moved[[5, 7]].sum() + 0.5, "the index finger curls"
    assert np.delete(pulled, own) == pytest.approx(np.delete(moved, own)), "and no other"
    assert np.linalg.norm(steps["turned"]["orientation"]) > 0.2
    assert steps["larger"]["translation"][2] < 0.9 * steps["turned"]["translation"][2]
    limits = np.array(steps["limits"])
    curled = np.array(steps["curled"]["angles"])
    assert curled[9] > 1.2 and (curled >= limits[:, 0] - 1e-6).all() and (curled <= limits[:, 1] + 1e-6).all()
    assert steps["untouched"], "the host's canvas and node stay where they are"
    assert steps["undone"] == "" and steps["redone"] == steps["text"]


def test_what_is_kept_is_read_by_the_library_without_loss(seen: dict):
    text = scene(seen, "mouse")["text"]
    state = parse_state(text)
    assert state is not None and json.loads(dump_state(state)) == json.loads(text)


def test_keys(seen: dict):
    steps = scene(seen, "keys")
    start = start_state().hands[0]
    moved = steps["moved"]
    assert moved["translation"][0] > start.translation[0] + 0.003
    assert moved["translation"][2] < start.translation[2]
    assert moved["orientation"][2] == pytest.approx(math.pi / 60, abs=1e-5)
    assert steps["joint"] == {"finger": 1, "joint": 3} and "Index" in steps["said"]
    assert steps["pulled"]["angles"][5] != moved["angles"][5] and steps["pulled"]["angles"][9] == moved["angles"][9]
    assert steps["mirrored"]["side"] == "left" and steps["two"] == ["left", "right"]
    assert steps["none"] == [0, 1], "Delete takes hands, never the node"
    assert steps["back"] == [2, 1, True], "Ctrl+Z brings the hands back, and nothing else"
    assert steps["poses"] >= 40
    assert steps["posed"]["angles"][7] == pytest.approx(math.radians(4), abs=1e-3)
    assert steps["leaves"], "Tab leaves the stage at last"
    assert steps["unnamed"] == []


def test_touch(seen: dict):
    steps = scene(seen, "touch")
    assert steps["after"]["translation"][2] < 0.75 * steps["before"]["translation"][2], "pinched open: nearer"
    assert steps["after"]["orientation"][2] == pytest.approx(0.3, abs=0.1), "twisted"


def close(found: dict, wanted: dict) -> bool:
    """Whether two states have the same hands, whatever picture they are placed in."""
    return len(found["hands"]) == len(wanted["hands"]) and all(
        a["side"] == b["side"]
        and all(np.allclose(a[k], b[k], atol=2e-6) for k in ("angles", "orientation", "translation", "shape"))
        for a, b in zip(found["hands"], wanted["hands"], strict=True)
    )


def test_picture_and_hands_come_from_the_inputs(seen: dict):
    steps = scene(seen, "reload")
    assert steps["size"] == list(BEHIND) and steps["behind"] == BEHIND[0], "the picture shows before anything has run"
    assert "failed" not in steps["ran"], steps["ran"]
    offered = steps["offered"]
    assert offered["value"] == "" and offered["undo"] == 0
    assert close(offered["shown"], offered["state"]), "nothing posed: the connected hands show"
    assert close(steps["taken"]["shown"], offered["state"]) and steps["taken"]["value"] != steps["value"]


def test_dragged_saved_reloaded_and_rendered(seen: dict, host: Server):
    steps = scene(seen, "reload")
    assert steps["value"] and steps["reloaded"] == steps["value"]
    (saved,) = (entry for entry in steps["saved"]["nodes"] if entry["type"] == "HanDrawerPoser")
    assert saved["widgets_values"] == [512, 512, steps["value"]], "in the order of the node's inputs"
    assert "failed" not in steps["again"], steps["again"]
    outputs = host.get(f"/history/{steps['again']['id']}")[steps["again"]["id"]]["outputs"]
    (keep,) = (name for name, entry in steps["prompt"].items() if entry["class_type"] == "PreviewImage")
    server = covered(view(host, outputs[keep]["images"][0]))
    assert server.shape == BEHIND[::-1]
    assert overlap(server, shown(steps["shown"])) >= OVERLAP


def test_a_value_that_cannot_be_read(seen: dict):
    steps = scene(seen, "unreadable")
    assert "newer" in steps["said"] and "99" in steps["kept"]
    assert steps["after"] == "" and steps["hands"] == 1


def test_the_newer_renderer(seen: dict, host: Server):
    steps = scene(seen, "newRenderer")
    assert steps["inside"] and min(steps["stage"]) > 300
    assert steps["pulled"]["angles"][5] > start_state().hands[0].angles[5] + 0.1
    assert steps["moved"]["translation"] != steps["pulled"]["translation"] and steps["untouched"]
    assert steps["grown"][0] > steps["stage"][0] + 100 and steps["grown"][1] > steps["stage"][1] + 70
    assert steps["saved"][-1] == steps["value"]
    another = steps["another"]
    assert overlap(drawn(host, poser_inputs(another["prompt"])), shown(another)) >= OVERLAP, "of a workflow loaded anew"


def luminance(screenshot: str) -> np.ndarray:
    """[H, W] relative luminance of a picture in base64, 0 to 1, as WCAG 2.2 defines it."""
    levels = np.arange(256) / 255
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(screenshot))).convert("RGB"))
    return linear[pixels] @ np.array([0.2126, 0.7152, 0.0722])


def part(picture: np.ndarray, at: list[float]) -> np.ndarray:
    """What a box (left, top, width, height) shows, without its own edge."""
    x, y, width, height = (round(value) for value in at)
    return picture[y + 2 : y + height - 2, x + 2 : x + width - 2]


def contrast(shown: np.ndarray) -> float:
    """WCAG's ratio, 1 to 21, between a box's ground, as its outline shows it, and what differs from that most."""
    ground = np.median(np.concatenate([shown[0], shown[-1], shown[:, 0], shown[:, -1]]))
    values = np.percentile(shown, [0.5, 99.5])
    return max((max(ground, value) + 0.05) / (min(ground, value) + 0.05) for value in values)


@pytest.mark.parametrize(("name", "newer", "dark"), [("olderLight", False, False), ("newerDark", True, True)])
def test_the_other_pairs_of_renderer_and_theme(seen: dict, name: str, newer: bool, dark: bool):
    """The older renderer in the light theme, the newer one in the dark: drawn, legible, and a finger can be pulled."""
    steps = scene(seen, name)
    assert steps["newer"] == newer
    start = start_state().hands[0]
    assert steps["pulled"]["angles"][5] > start.angles[5] + 0.1, "the index finger curls"
    assert steps["pulled"]["translation"] == pytest.approx(start.translation, abs=1e-5), "nothing else moves"
    stage = part(luminance(steps["panel"]["picture"]), steps["stage"])
    assert min(stage.shape) > 150 and np.percentile(stage, 98) > 3 * np.median(stage), "a hand lies on its ground"
    for shown, least in ((steps["panel"], 38), (steps["poses"], 20)):
        picture = luminance(shown["picture"])
        ratios = {control["name"]: contrast(part(picture, control["at"])) for control in shown["controls"]}
        assert len(shown["controls"]) >= least, ratios
        assert min(ratios.values()) >= LEGIBLE, sorted(ratios.items(), key=lambda item: item[1])[:5]
        grounds = [float(np.median(part(picture, c["at"]))) for c in shown["controls"] if "hp-name" in c["kind"]]
        assert all((ground < 0.1) == dark for ground in grounds), grounds


def test_scripts_are_those_of_web_js_and_no_others(host: Server):
    """The page imports every script that the host lists; all of ours are under web/js, and importing them is safe."""
    listed = [path for path in host.get("/extensions") if path.startswith("/extensions/HanDrawer/")]
    ours = {
        f"/extensions/HanDrawer/{file.relative_to(ROOT / 'web').as_posix()}" for file in (ROOT / "web").rglob("*.js")
    }
    assert set(listed) == ours
    assert all(path.startswith("/extensions/HanDrawer/js/") for path in listed)
    assert b"# Hand Poser" in host.read("/extensions/HanDrawer/docs/HanDrawerPoser.md"), "help is served, as text"
