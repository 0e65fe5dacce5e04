"""The page about diffusers is true: its programs run, one after another, with a small model in the place of SD1.5."""

import re
import runpy
from pathlib import Path

import torch

from .small_pipelines import make_pipeline
from .small_unets import write_adapter

PAGE = Path(__file__).resolve().parents[2] / "docs" / "diffusers.md"


def seeded() -> dict:
    return {"generator": torch.Generator().manual_seed(0), "num_inference_steps": 1}


def test_the_programs_run(tmp_path, monkeypatch, capsys):
    import diffusers

    pipeline = make_pipeline("sd15")
    write_adapter(tmp_path / "hand.safetensors", pipeline.unet)
    monkeypatch.setattr(diffusers.StableDiffusionPipeline, "from_pretrained", lambda _path: pipeline)
    monkeypatch.chdir(tmp_path)
    programs = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(programs) == 3
    # A part of the page's size and steps: what is tested is that it runs, and that hands act.
    text = "\n".join(programs).replace("512", "128").replace("64, 64", "16, 16")
    assert text.count("height=128).images") == 1
    program = tmp_path / "page.py"
    program.write_text(text.replace("height=128).images", "height=128, **seeded()).images"), encoding="utf-8")
    names = runpy.run_path(str(program), init_globals={"seeded": seeded})
    assert (tmp_path / "hand.png").is_file() and names["picture"].size == (128, 128)
    bare = pipeline("a left hand making a peace sign", width=128, height=128, **seeded()).images[0]
    assert names["picture"].tobytes() != bare.tobytes()
    assert names["noise"].shape == (1, 4, 16, 16) and bool(torch.isfinite(names["noise"]).all())
    assert "made for: a UNet of 12 encoder blocks" in capsys.readouterr().out
