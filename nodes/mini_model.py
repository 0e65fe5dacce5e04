"""The small model's folder (diffusers layout) as the host's MODEL, CLIP and VAE."""

import functools
import json
from pathlib import Path

import comfy.latent_formats
import comfy.model_base
import comfy.model_management as mm
import comfy.model_patcher
import comfy.sd
import comfy.supported_models_base
import comfy.utils
import torch
from safetensors import SafetensorError
from torch import Tensor

from . import diffusers_unet, mini_text

PREDICTION = {
    "epsilon": comfy.model_base.ModelType.EPS,
    "v_prediction": comfy.model_base.ModelType.V_PREDICTION,
}
# diffusers' names for noise schedules and the host's: its "linear" is linear in the square root.
SCHEDULES = {"scaled_linear": "linear", "linear": "sqrt_linear"}


def read_config(folder: Path, name: str = "config.json") -> dict:
    """A JSON file of a model folder.

    Raises:
        ValueError: the file is missing or damaged.
    """
    path = folder / name
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(
            f"The small model's file {path} is missing: fetch HanDrawer again, it comes with it."
        ) from None
    except ValueError as error:
        raise ValueError(f"The small model's file {path} is damaged ({error}): fetch HanDrawer again.") from error


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The only .safetensors file of a model folder.

    Raises:
        ValueError: there is none, or it cannot be read.
    """
    files = sorted(folder.glob("*.safetensors"))
    if len(files) != 1:
        raise ValueError(
            f"The small model needs one .safetensors file in {folder}, there are {len(files)}: fetch HanDrawer again."
        )
    try:
        return comfy.utils.load_torch_file(str(files[0]), safe_load=True)
    except (OSError, ValueError, SafetensorError) as error:
        raise ValueError(f"The small model's file {files[0]} is damaged ({error}): fetch HanDrawer again.") from error


def sampling_settings(scheduler: dict) -> dict:
    """The host's noise schedule for a diffusers scheduler configuration.

    Raises:
        ValueError: a schedule which the host's discrete sampling does not know.
    """
    schedule = scheduler.get("beta_schedule", "linear")
    if schedule not in SCHEDULES:
        raise ValueError(f"The noise schedule is {schedule!r}; ComfyUI samples {sorted(SCHEDULES)} here.")
    return {
        "beta_schedule": SCHEDULES[schedule],
        "linear_start": scheduler["beta_start"],
        "linear_end": scheduler["beta_end"],
        "timesteps": scheduler.get("num_train_timesteps", 1000),
        "zsnr": scheduler.get("rescale_betas_zero_snr", False),
    }


def latent_format(vae_config: dict, preview: tuple[list[list[float]], list[float]] | None = None) -> type:
    """The class which tells the host how the small VAE's latents are scaled, and how to preview them."""

    class MiniLatents(comfy.latent_formats.LatentFormat):
        scale_factor = vae_config.get("scaling_factor", 1.0)
        latent_channels = vae_config["latent_channels"]
        latent_rgb_factors = preview[0] if preview else None
        latent_rgb_factors_bias = preview[1] if preview else None

    return MiniLatents


@torch.no_grad()
def preview_factors(vae: comfy.sd.VAE, scale: float) -> tuple[list[list[float]], list[float]]:
    """Latent channels to colours, for the host's quick previews: least squares over the VAE's own decoder.

    Flat latents are decoded and the colour in the middle is taken, so the fit knows nothing of the pictures' content.

    Returns:
        Factors [C][3] and bias [3], from latents as the sampler sees them to colours in [-1, 1].
    """
    channels = vae.latent_channels
    generator = torch.Generator().manual_seed(0)
    flat = torch.randn(64, channels, 1, 1, generator=generator)
    pictures = vae.decode((flat / scale).expand(-1, -1, 3, 3).contiguous())  # [64, 24, 24, 3] in 0..1
    colours = pictures[:, 8:16, 8:16, :3].mean(dim=(1, 2)).cpu().float() * 2 - 1
    inputs = torch.cat([flat.flatten(1), torch.ones(64, 1)], dim=1)
    solution = torch.linalg.lstsq(inputs, colours).solution  # [C + 1, 3]
    return solution[:channels].tolist(), solution[channels].tolist()


def load_unet(
    config: dict, weights: dict[str, Tensor], scheduler: dict, latents: type
) -> comfy.model_patcher.ModelPatcher:
    """The host's MODEL for a diffusers UNet.

    Args:
        config: ``unet/config.json``.
        weights: the UNet's state dict.
        scheduler: ``scheduler/scheduler_config.json``: the noise schedule and what the UNet predicts.
        latents: the latent format's class.

    Raises:
        ValueError: the files do not fit each other, or the host cannot build such a network.
    """
    prediction = scheduler.get("prediction_type", "epsilon")
    if prediction not in PREDICTION:
        raise ValueError(f"The scheduler predicts {prediction!r}; ComfyUI samples {sorted(PREDICTION)} here.")
    unet_config = diffusers_unet.host_config(config)
    named = diffusers_unet.host_weights(weights, unet_config)

    class HanDrawerMini(comfy.supported_models_base.BASE):
        memory_usage_factor = 1.0

        def model_type(self, state_dict, prefix=""):
            return PREDICTION[prediction]

    HanDrawerMini.unet_extra_config = {}  # the default would set the number of channels a head
    HanDrawerMini.supported_inference_dtypes = [torch.float32]  # small: the same picture everywhere is worth more
    HanDrawerMini.latent_format = latents
    HanDrawerMini.sampling_settings = sampling_settings(scheduler)
    model_config = HanDrawerMini(unet_config)
    device, offload = mm.get_torch_device(), mm.unet_offload_device()
    size = sum(t.numel() for t in named.values())
    dtype = mm.unet_dtype(model_params=size, supported_dtypes=HanDrawerMini.supported_inference_dtypes)
    cast = mm.unet_manual_cast(dtype, device, HanDrawerMini.supported_inference_dtypes)
    model_config.set_inference_dtype(dtype, cast)
    model = model_config.get_model({}, device=offload)
    load = functools.partial(model.diffusion_model.load_state_dict, strict=False)
    diffusers_unet.load_weights(load, named, "UNet")
    model.eval()
    # The plain one also on hosts which load large models piece by piece: this one is small, and filled already.
    return comfy.model_patcher.ModelPatcher(model, load_device=device, offload_device=offload)


def load_vae(weights: dict[str, Tensor]) -> comfy.sd.VAE:
    """The host's VAE for an AutoencoderTiny of TAESD's layout.

    The host's decoder has a layer (Clamp) in front which diffusers writes as a function: its numbers are one higher.
    """
    named = {"vae_scale": torch.tensor(1.0), "vae_shift": torch.tensor(0.0)}
    for name, tensor in weights.items():
        part, layers, number, rest = name.split(".", 3)
        if layers != "layers" or part not in ("encoder", "decoder"):
            raise ValueError(f"The VAE is no AutoencoderTiny of TAESD's layout ({name}): fetch HanDrawer again.")
        named[f"taesd_{part}.{int(number) + (part == 'decoder')}.{rest}"] = tensor.float()
    made = []

    def load(weights: dict[str, Tensor]) -> tuple[list[str], list[str]]:
        made.append(comfy.sd.VAE(sd=weights, dtype=torch.float32))  # it only warns where a weight is missing
        model = made[0].first_stage_model  # None where it does not recognise the weights at all
        expected = set() if model is None else set(model.state_dict())
        return sorted(expected - weights.keys()), sorted(weights.keys() - expected)

    diffusers_unet.load_weights(load, named, "VAE")
    (vae,) = made
    return vae


def load_mini(folder: Path) -> tuple[comfy.model_patcher.ModelPatcher, comfy.sd.CLIP, comfy.sd.VAE]:
    """MODEL, CLIP and VAE from a folder in diffusers layout.

    Raises:
        ValueError: something is missing or damaged; the sentence names the file.
    """
    vae_config = read_config(folder / "vae")
    vae = load_vae(read_weights(folder / "vae"))
    latents = latent_format(vae_config, preview_factors(vae, vae_config.get("scaling_factor", 1.0)))
    scheduler = read_config(folder / "scheduler", "scheduler_config.json")
    model = load_unet(read_config(folder / "unet"), read_weights(folder / "unet"), scheduler, latents)
    text = folder / "text_encoder"
    clip = mini_text.load_text_encoder(read_config(text), read_weights(text), folder / "tokenizer" / "tokenizer.json")
    return model, clip, vae
