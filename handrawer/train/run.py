"""Trains the small model from nothing: VAE, samples, then base, control and adapter together.

`python -m handrawer train CONFIG` where CONFIG is a JSON file like those in `configs/`. Everything is written below
the configuration's `out` folder; a run that was stopped goes on from there, exactly.
"""

from __future__ import annotations

import json
import logging
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from ..hand.model import load_open_hand
from ..mini.modules import make_vae
from ..mini.picture import make_skin
from .autoencoder import AutoencoderConfig, train_autoencoder
from .data import keep_drawn, make_samples
from .diffusion import DiffusionConfig, Trainer

log = logging.getLogger("handrawer")


@dataclass(frozen=True)
class RunConfig:
    """A whole run.

    Attributes:
        out: folder for checkpoints, log and weights.
        device: "auto", "cpu", "cuda", ...
        samples: pictures that the denoiser is trained on.
        samples_seed: of those pictures.
        autoencoder, diffusion: settings of the two trainings.
        vae: a folder with a trained VAE (diffusers layout) to use instead of training one, or None.
        start: a folder with an earlier generation of the whole model (diffusers layout) to go on from, or None.
        start_control: file with that generation's control base (as `evaluate.proof` stores it), or None.
        keep_drawn: whether the adapter's inputs are drawn once and kept, 300 KB a sample, instead of at every step.
    """

    out: str
    device: str = "auto"
    samples: int = 100_000
    samples_seed: int = 1
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    vae: str | None = None
    start: str | None = None
    start_control: str | None = None
    keep_drawn: bool = False


def read_config(path: str | Path) -> RunConfig:
    """A configuration from a JSON file; raises ValueError with a sentence for a key that does not exist."""
    try:
        values = json.loads(Path(path).read_text())
    except FileNotFoundError:
        raise ValueError(f"There is no configuration {path}: name one of handrawer/train/configs.") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON ({error}): compare it with handrawer/train/configs.") from None
    parts = {"autoencoder": AutoencoderConfig, "diffusion": DiffusionConfig}

    def build(kind: Any, given: dict[str, Any]) -> Any:
        known = {f.name for f in fields(kind)}
        if unknown := sorted(set(given) - known):
            raise ValueError(f"{path} has an unknown key '{unknown[0]}': the keys are {', '.join(sorted(known))}.")
        return kind(**{k: build(parts[k], v) if k in parts else v for k, v in given.items()})

    if "out" not in values:
        raise ValueError(f"{path} does not say where to write: add the key 'out'.")
    return build(RunConfig, values)


def pick_device(name: str) -> torch.device:
    """The device of that name; "auto" is the GPU where there is one."""
    if name != "auto":
        return torch.device(name)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_vae(folder: str | Path) -> torch.nn.Module:
    """A VAE in diffusers layout, float32."""
    from diffusers import AutoencoderTiny

    return AutoencoderTiny.from_pretrained(folder).float()


class Journal:
    """Writes each line to the log file and to the logger."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("a", buffering=1)

    def __call__(self, line: str) -> None:
        self.file.write(line + "\n")
        log.info(line)


def machine() -> str:
    """The machine in words, for the log."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    return f"torch {torch.__version__}, Python {platform.python_version()}, {device}"


def run(config: RunConfig, journal: Callable[[str], None] | None = None) -> Trainer:
    """The whole run; gives the trainer with its averaged weights, and writes them to `out`."""
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    journal = journal or Journal(out / "log.txt")
    device = pick_device(config.device)
    journal(f"machine {machine()}")
    journal(f"config {json.dumps(asdict(config))}")
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
    model = load_open_hand().to(device)
    skin = make_skin(model)
    if config.vae:
        vae = load_vae(config.vae).to(device)
        save_vae(vae, out / "vae")
    else:
        vae = train_autoencoder(config.autoencoder, model, skin, out, journal)
        save_vae(vae, out / "vae")
    started = time.monotonic()
    chunk = 128 if device.type == "cuda" else 16
    samples = make_samples(config.samples_seed, config.samples, model, skin, vae, chunk, progress=journal)
    spread = samples.latents.float().std(dim=(0, 2, 3))
    journal(f"samples {len(samples)} in {time.monotonic() - started:.0f} s, latent std {spread.tolist()}")
    del vae
    trainer = Trainer(config.diffusion, model)
    if config.start:
        trainer.start_from(earlier_arms(config))
        journal(f"goes on from {config.start}")
    if config.keep_drawn:
        started = time.monotonic()
        samples = keep_drawn(samples, model, trainer.adapter.config.raster, 256 if device.type == "cuda" else 16)
        journal(f"hands drawn in {time.monotonic() - started:.0f} s")
    counts = {k: sum(p.numel() for p in v.parameters()) for k, v in trainer.arms.items()}
    journal(f"parameters {counts}")
    trainer.run(samples, out, journal, on_save=lambda t: save_arms(t, out))
    save_arms(trainer, out)
    journal("done")
    return trainer


def earlier_arms(config: RunConfig) -> dict[str, dict[str, torch.Tensor]]:
    """The weights of an earlier generation's arms by name; the mesh's buffers of the adapter are left out."""
    from ..mini.control import read_control
    from ..mini.pipeline import load_mini

    pipe = load_mini(config.start or "")
    parts = {"text": pipe.text_encoder, "unet": pipe.unet}
    guided = {f"{part}.{k}": v for part, network in parts.items() for k, v in network.state_dict().items()}
    arms = {"guided": guided, "adapter": dict(pipe.adapter.named_parameters())}
    if config.diffusion.control and config.start_control:
        arms["control"] = read_control(config.start_control)
    return {name: {k: v.detach().float() for k, v in weights.items()} for name, weights in arms.items()}


def save_vae(vae: torch.nn.Module, folder: Path) -> None:
    """Write the VAE in diffusers layout, fp16, and leave it in float32."""
    copy = make_vae()
    copy.load_state_dict({k: v.float().cpu() for k, v in vae.state_dict().items()})
    copy.half().save_pretrained(folder)


def save_arms(trainer: Trainer, out: Path) -> None:
    """The averaged weights of every arm as fp16 safetensors, `out/arms/NAME.safetensors`."""
    from safetensors.torch import save_file

    (out / "arms").mkdir(exist_ok=True)
    for name, average in trainer.averages.items():
        tensors = {k: v.half() if v.is_floating_point() else v for k, v in average.values.items()}
        save_file(
            {k: v.contiguous().cpu().clone() for k, v in tensors.items()},
            out / "arms" / f"{name}.safetensors",
            metadata={"step": str(trainer.step)},
        )


def main(path: str) -> int:
    """The command line's `train`."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    run(read_config(path))
    return 0
