"""Training on the canvas of a real ComfyUI server."""

from pathlib import Path

import numpy as np

from tests.host.server import Server
from tests.host.test_host import draw, picture_of
from tests.host.workflows import node, photo_to_picture, without_handrawer


def test_an_adapter_is_trained_applied_and_saved_in_one_graph(host: Server):
    workflow = photo_to_picture(seed=5, steps=2)
    bare = draw(host, without_handrawer(workflow))
    workflow["30"] = node(
        "HanDrawerTrain", model=["6", 0], clip=["6", 1], vae=["6", 2], steps=3, batch=1, learning_rate=0.02, seed=1,
        captions="a right hand", images=["3", 1], hands=["3", 0],
    )  # fmt: skip
    workflow["31"] = node(
        "HanDrawerSave", handrawer=["30", 0], filename_prefix="hands/trained", folder="models/handrawer"
    )
    workflow["7"]["inputs"]["handrawer"] = ["30", 0]
    outputs = host.succeed(workflow)
    trained = picture_of(host, outputs, "14")
    assert np.abs(trained.astype(int) - bare).mean() > 1
    # The folder that extra_model_paths.yaml names comes before models/handrawer.
    (file,) = Path(host.base.parent / "elsewhere" / "hands").glob("trained_*.safetensors")
    # The MODEL is as it was, and the file is what was applied.
    assert np.array_equal(draw(host, without_handrawer(workflow)), bare)
    listed = host.get("/object_info/HanDrawerLoad")["HanDrawerLoad"]["input"]["required"]["handrawer_name"]
    assert f"hands/{file.name}" in (listed[0] if isinstance(listed[0], list) else listed[1]["options"])
    workflow["30"] = node("HanDrawerLoad", handrawer_name=f"hands/{file.name}")
    del workflow["31"]
    assert np.abs(draw(host, workflow).astype(int) - trained).max() <= 2
