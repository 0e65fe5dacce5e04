"""The user's own hand model in a real graph: loaded, hands carried over, drawn and encoded; and files that are none."""

import io as bytes_io
import pickle

import numpy as np
from PIL import Image

from tests.hand.mano_like import write_npz, write_official
from tests.host.server import Server
from tests.host.workflows import node

LOAD = {"keep": False, "mend_left": True}


class Evil:
    def __init__(self, target: str):
        self.target = target

    def __reduce__(self):
        return exec, (f"open({self.target!r}, 'w').write('x')",)


def drawn(host: Server, outputs: dict, name: str) -> np.ndarray:
    (image,) = outputs[name]["images"]
    return np.asarray(Image.open(bytes_io.BytesIO(host.picture(image))).convert("L")) > 128


def test_a_mano_file_on_the_canvas(host: Server):
    folder = host.base / "models" / "hand_models"
    folder.mkdir(parents=True, exist_ok=True)
    write_official(folder / "MANO_RIGHT.pkl")
    write_npz(folder / "MANO_LEFT.npz", "left")
    (folder / "evil.pkl").write_bytes(pickle.dumps({"v_template": Evil(str(folder / "done"))}))
    (info,) = host.get("/object_info/HanDrawerLoadHandModel").values()
    assert info["input"]["required"]["file"][1]["options"][1:] == ["MANO_LEFT.npz", "MANO_RIGHT.pkl", "evil.pkl"]
    workflow = {
        "1": node("HanDrawerGesture", gesture="peace", side="left", x=0.5, y=0.5, size=0.9, yaw=20.0, pitch=0.0,
                  roll=0.0, width=256, height=256),
        "2": node("HanDrawerLoadHandModel", file="MANO_RIGHT.pkl", **LOAD),
        "3": node("HanDrawerConvertHands", hands=["1", 0], hand_model=["2", 0]),
        "4": node("HanDrawerSaveHands", hands=["3", 0], filename_prefix="test/mano"),
        "5": node("HanDrawerLoadHands", file="(from text)", text=["4", 0]),
        "6": node("HanDrawerLoadMini"),
        "7": node("HanDrawerEncodeHands", handrawer=["6", 3], hands=["5", 0]),
        "10": node("HanDrawerRenderHands", hands=["1", 0], depth_range="picture", normal_colours="bae"),
        "11": node("HanDrawerRenderHands", hands=["5", 0], depth_range="picture", normal_colours="bae"),
        "12": node("MaskToImage", mask=["10", 4]),
        "13": node("MaskToImage", mask=["11", 4]),
        "20": node("PreviewImage", images=["12", 0]),
        "21": node("PreviewImage", images=["13", 0]),
        "22": node("PreviewAny", source=["3", 1]),
        "23": node("PreviewAny", source=["7", 1]),
    }  # fmt: skip
    outputs = host.succeed(workflow)
    assert outputs["22"]["text"] == ["1 hand of the model open brought over to mano."]
    assert outputs["23"]["text"] == ["1 hand of the model mano brought over to open."]
    before, after = drawn(host, outputs, "20"), drawn(host, outputs, "21")
    # The open hand has a stub of forearm besides; above it the two must agree.
    rows = np.nonzero(after.any(axis=1))[0]
    above = slice(0, int(rows[0] + 0.8 * (rows[-1] - rows[0])))
    both = (before & after)[above].sum() / (before | after)[above].sum()
    assert both > 0.93, both

    workflow["2"] = node("HanDrawerLoadHandModel", file="evil.pkl", **LOAD)
    error = host.fail(workflow)
    assert "evil.pkl cannot be read as a hand model: it asks for 'builtins.exec'" in error
    assert not (folder / "done").exists()
    workflow["2"] = node("HanDrawerLoadHandModel", file="MANO_LEFT.npz", **LOAD)
    host.succeed(workflow)  # the next queue works
