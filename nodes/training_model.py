"""The canvas's MODEL as what a training needs: frozen, differentiable, and left as it was."""

import dataclasses
import types as python_types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import comfy.model_base
import comfy.model_management as mm
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..handrawer.adapter.handrawer import HanDrawer
from ..handrawer.adapter.unet import STRANGERS
from ..handrawer.hand.model import load_open_hand
from ..handrawer.train.text import Text
from . import network

LARGE = 500_000_000  # parameters; such a UNet runs a second time in the backward pass instead of keeping everything
BLOCKS = ("ResBlock", "SpatialTransformer")


class CanvasModel:
    """A `Denoiser` of handrawer/train/steps.py made of a MODEL.

    LoRAs on it count, since the host works them into the weights; what other nodes put around its sampling does not.

    Raises:
        ValueError: a MODEL that HanDrawer does not steer, or one for inpainting.
    """

    kind = "sample"  # the host turns every prediction into the clean latent

    def __init__(self, model) -> None:
        description = network.describe_model(model)
        if description is None or description.name in STRANGERS:
            kind = type(model.model.model_config).__name__
            raise ValueError(f"model: HanDrawer can be trained for {network.SUPPORTED}; this is {kind}.")
        if description.input_channels != description.latent_channels:
            raise ValueError("model: this one is for inpainting; train on the one that it was made from.")
        predicts_v = model.model.model_type == comfy.model_base.ModelType.V_PREDICTION
        self.description = dataclasses.replace(description, prediction="v_prediction" if predicts_v else "epsilon")
        self.title = f"{description.title} ({type(model.model.model_config).__name__})"
        self.patcher = model.clone()
        self.device = model.load_device
        self.network: nn.Module = model.model.diffusion_model
        # Half precision would lose small gradients; bfloat16 has float32's range.
        if self.base.get_dtype() == torch.float16 and self.base.manual_cast_dtype is None:
            self.patcher.set_model_compute_dtype(torch.bfloat16 if self.device.type == "cuda" else torch.float32)
        self._maps: Mapping[int, Tensor] = {}
        self._last: Tensor | None = None

    @property
    def base(self):
        return self.patcher.model

    @property
    def levels(self) -> tuple[Tensor, Tensor]:
        """a and s of every time: the host's noise is sigma = s / a."""
        sigmas = normal(self.base.model_sampling.sigmas).double()
        a = (1 + sigmas**2).rsqrt()
        return a.float(), (sigmas * a).float()

    def new_adapter(self, seed: int) -> HanDrawer:
        torch.manual_seed(seed)
        return HanDrawer.create(self.description, load_open_hand()).float()

    @staticmethod
    def copied(adapter: HanDrawer) -> HanDrawer:
        """The same weights in torch's own layers, float32, to go on from."""
        made = HanDrawer(adapter.config)
        made.load_state_dict({name: normal(tensor).cpu() for name, tensor in adapter.state_dict().items()})
        return made.float()

    # --- encoding

    def latent(self, latent: Tensor) -> Tensor:
        """A VAE's latent [1, C, h, w] as the model knows it, in main memory."""
        return normal(self.base.process_latent_in(latent.float())).cpu()

    def text(self, conditioning: list) -> Text:
        """One entry of a CONDITIONING: its text, and for SDXL its pooled text.

        Raises:
            ValueError: a prompt without pooled text for a model that wants one.
        """
        context, more = conditioning
        pooled = more.get("pooled_output") if self.base.adm_channels else None
        if self.base.adm_channels and pooled is None:
            raise ValueError("positive: this prompt was encoded for another model; encode it with this model's CLIP.")
        context = normal(context).float().cpu()
        return Text(context, None if pooled is None else normal(pooled).float().cpu())

    # --- training

    @contextmanager
    def loaded(self) -> Iterator[None]:
        """While it is open the model lies on its device, frozen, and gradients flow through it; afterwards nothing of
        it has changed."""
        mm.load_models_gpu([self.patcher], force_full_load=True)
        wanted = {name: parameter.requires_grad for name, parameter in self.base.named_parameters()}
        free(self.base)
        self.base.requires_grad_(False)
        wrapped = []
        if sum(p.numel() for p in self.network.parameters()) > LARGE:
            wrapped = [module for module in self.network.modules() if type(module).__name__ in BLOCKS]
        try:
            for module in wrapped:
                module.forward = python_types.MethodType(_checkpointed(type(module).forward), module)
            yield
        finally:
            for module in wrapped:
                del module.forward
            for name, parameter in self.base.named_parameters():
                parameter.requires_grad_(wanted[name])
            self._maps, self._last = {}, None

    @contextmanager
    def adding(self, residuals: Mapping[int, Tensor]) -> Iterator[None]:
        self._maps = residuals
        try:
            yield
        finally:
            self._maps = {}

    def predict(self, noisy: Tensor, time: Tensor, text: Text, depth: Tensor | None) -> Tensor:
        """The clean latent."""
        sigma = normal(self.base.model_sampling.sigmas).to(noisy.device)[time].float()
        scale = (1 + sigma**2).sqrt()[:, None, None, None]  # the host's latents grow with the noise
        options = {"patches": {"input_block_patch": [self._patch]}, "sigmas": sigma, "cond_or_uncond": [0]}
        more = {}
        if text.pooled is not None:
            # As the sampler tells it where the prompt sets nothing: a picture of this size, not cropped.
            height, width = (8 * side for side in noisy.shape[-2:])
            told = {"pooled_output": text.pooled, "width": width, "height": height, "device": noisy.device}
            more["y"] = self.base.encode_adm(**told)
        found = self.base._apply_model(
            noisy * scale, sigma, c_crossattn=text.context, transformer_options=options, **more
        )
        self._last = found.detach()[:1]
        return found.float()

    def _patch(self, h: Tensor, options: dict) -> Tensor:
        residual = self._maps.get(options["block"][1])
        return h if residual is None else h + residual.to(h)

    def preview(self):
        """What the model made of the last step's first picture, as the host's progress bar takes it, or None."""
        import latent_preview

        shown = latent_preview.get_previewer(self.device, self.base.latent_format)
        return None if shown is None or self._last is None else shown.decode_latent_to_preview_image("JPEG", self._last)


def normal(tensor: Tensor) -> Tensor:
    """The same numbers outside inference mode, where a gradient may need them."""
    return tensor.clone() if tensor.is_inference() else tensor


def free(module: nn.Module) -> None:
    """Make every weight that was loaded in inference mode one that gradients can flow through: the same numbers."""
    for part in module.modules():
        for name, parameter in list(part._parameters.items()):
            if parameter is not None and parameter.is_inference():
                part._parameters[name] = nn.Parameter(parameter.clone(), requires_grad=False)
        for name, buffer in list(part._buffers.items()):
            if buffer is not None and buffer.is_inference():
                part._buffers[name] = buffer.clone()


def _checkpointed(forward):
    """A forward pass that is run again in the backward pass."""

    def again(self, *args, **kwargs):
        return checkpoint(forward, self, *args, use_reentrant=False, **kwargs)

    return again
