"""A HanDrawer network in the host's care, and what it makes of hands."""

import dataclasses
import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import comfy.model_management as mm
import comfy.model_patcher
import comfy.ops
import torch
from torch import Tensor

from ..handrawer.adapter.checkpoint import AdapterMetadata, check_fits, load
from ..handrawer.adapter.handrawer import HanDrawer, HandTokens
from ..handrawer.adapter.inputs import hand_inputs
from ..handrawer.adapter.unet import UNetDescription, describe_comfy
from ..handrawer.hand.convert import refit_for
from ..handrawer.hand.hands import Hands
from ..handrawer.hand.model import HandModel
from .mano import found_model

TextKey = tuple[tuple[int, ...], str]
KEPT_BYTES = 512 * 2**20  # maps which one Encode Hands remembers between queue runs, in main memory
SUPPORTED = "Stable Diffusion 1.x, 2.x and SDXL (with Pony, Illustrious, NoobAI and the like)"


@dataclass(frozen=True, eq=False)
class Network:
    """A loaded adapter. What runs over the HANDRAWER socket.

    Attributes:
        name: the file's name, for messages.
        adapter: the network, built from the host's layers.
        metadata: what the file says of itself.
        patcher: the host's handle, through which it moves the weights.
    """

    name: str
    adapter: HanDrawer
    metadata: AdapterMetadata
    patcher: comfy.model_patcher.ModelPatcher

    @property
    def negative_hand(self) -> bool:
        """Whether the negative prompt gets the hand as well, as it did in this adapter's training."""
        return self.adapter.negative_hand == "same"

    @property
    def levels(self) -> dict[int, int]:
        """The level of each input block that something is added to."""
        return {site.block: site.level for site in self.adapter.config.unet.sites}


@dataclass(frozen=True)
class View:
    """What an apply node makes of encoded hands without encoding them again.

    Attributes:
        crop: (x, y, width, height) in pixels of the hands' pictures: the part that is drawn; None for the whole.
        weights: for each picture a factor for each of its hands, numbered as in the overlay; hands beyond them count
            as 1, and pictures beyond them begin again at the first.
    """

    crop: tuple[float, float, float, float] | None = None
    weights: tuple[tuple[float, ...], ...] = ()

    def sizes(self, sizes: tuple[tuple[int, int], ...]) -> tuple[tuple[float, float], ...]:
        """The pictures that are drawn, (width, height) in pixels."""
        return sizes if self.crop is None else ((self.crop[2], self.crop[3]),) * len(sizes)

    def part(self, sizes: tuple[tuple[int, int], ...], region: tuple[float, float, float, float]) -> "View":
        """A part of what this view shows: left, top, right, bottom as shares of it.

        Raises:
            ValueError: the pictures differ in size, so one part is not the same in all.
        """
        if region == (0.0, 0.0, 1.0, 1.0) or not sizes:
            return self
        if self.crop is None and len(set(sizes)) > 1:
            raise ValueError("features: the pictures of these hands differ in size; encode those of one size.")
        x, y, width, height = self.crop or (0, 0, *sizes[0])
        left, top, right, bottom = region
        crop = (x + left * width, y + top * height, (right - left) * width, (bottom - top) * height)
        return dataclasses.replace(self, crop=crop)

    def of(self, tokens: HandTokens, numbers: tuple[tuple[int, int], ...]) -> HandTokens:
        """The hands as they are seen: what the graph network knows of a hand does not depend on where it lies.

        Args:
            numbers: of each hand its picture and its number there.
        """
        inputs = tokens.inputs
        if self.crop is not None:
            x, y, width, height = self.crop
            size = inputs.sizes[inputs.picture].repeat(1, 2).to(inputs.box)
            start = torch.tensor([x, y, x, y]).to(inputs.box)
            box = (inputs.box * size - start) / torch.tensor([width, height, width, height]).to(inputs.box)
            sizes = torch.tensor([[width, height]]).to(inputs.sizes).expand_as(inputs.sizes)
            inputs = dataclasses.replace(inputs, box=box, sizes=sizes)
        if self.weights:
            weight = torch.tensor([self.weight(picture, number) for picture, number in numbers])
            inputs = dataclasses.replace(inputs, weight=inputs.weight * weight.to(inputs.weight))
        return HandTokens(tokens.tokens, inputs)

    def weight(self, picture: int, number: int) -> float:
        weights = self.weights[picture % len(self.weights)]
        return weights[number] if number < len(weights) else 1.0


WHOLE = View()


@dataclass(frozen=True, eq=False)
class Maps:
    """Residuals for one latent size and one text: block -> [P, C, h, w] float32 in main memory, P pictures."""

    blocks: dict[int, Tensor]

    @property
    def bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.blocks.values())


class Features:
    """Hands through the adapter's GCN, with the residual maps made from them. Runs over HANDRAWER_FEATURES.

    The host keeps a node's result while its inputs stay the same, so the maps are found again by the next queue run
    when only the seed, the steps or the strength have changed.
    """

    def __init__(self, network: Network, hands: Hands, tokens: HandTokens) -> None:
        self.network = network
        self.sizes = tuple((frame.width, frame.height) for frame in hands.frames)
        self.numbers = tuple(
            (place, number)
            for place, frame in enumerate(hands.frames)
            for number, hand in enumerate(frame.hands)
            if hand.enabled
        )
        self.tokens = tokens
        self._maps: OrderedDict[tuple, Maps] = OrderedDict()

    @property
    def pictures(self) -> int:
        return len(self.sizes)

    @property
    def hands(self) -> int:
        """How many hands there are in all pictures; the switched off ones do not count."""
        return len(self.numbers)

    def maps(self, height: int, width: int, text: Tensor | None, view: View = WHOLE) -> Maps:
        """Residual maps, made once for each size, text and view.

        Args:
            height, width: the latent's size in cells.
            text: [1, L, D], or None for the null text.
            view: which part of the pictures the latent shows, and how much each hand counts.

        Raises:
            ValueError: the hands were placed on a picture of another shape.
        """
        name = (height, width, None if text is None else text_key(text), view)
        if name not in self._maps:
            mm.throw_exception_if_processing_interrupted()
            check_shape(view.sizes(self.sizes), height, width, view.crop is not None)
            self._maps[name] = self._make(height, width, text, view)
        self._maps.move_to_end(name)
        while len(self._maps) > 1 and sum(maps.bytes for maps in self._maps.values()) > KEPT_BYTES:
            self._maps.popitem(last=False)
        return self._maps[name]

    @torch.no_grad()
    def _make(self, height: int, width: int, text: Tensor | None, view: View) -> Maps:
        device = self.network.patcher.load_device
        if text is not None:
            text = text.to(device, torch.float32)
        tokens = view.of(self.tokens, self.numbers).to(device)
        made = self.network.adapter.residuals(tokens, height, width, text)
        return Maps({block: tensor.to(mm.intermediate_device(), torch.float32) for block, tensor in made.items()})


def text_key(text: Tensor) -> TextKey:
    """What tells texts apart: shape and content."""
    content = text.detach().to("cpu", torch.float32).contiguous().numpy().tobytes()
    return tuple(text.shape), hashlib.blake2b(content, digest_size=16).hexdigest()


def check_shape(sizes: tuple[tuple[float, float], ...], height: int, width: int, crop: bool = False) -> None:
    """Refuse to stretch hands: the latent must have the shape of the pictures that they lie in.

    Args:
        sizes: (width, height) of the pictures in pixels.
        height, width: of the latent in cells.
        crop: whether the pictures are a part that was chosen on the apply node.

    Raises:
        ValueError: naming both and what helps.
    """
    for w, h in sizes:
        scale = (width * height / (w * h)) ** 0.5  # latent cells a pixel; sides are rounded to whole cells
        if abs(scale * w - width) <= max(1.0, 0.02 * width) and abs(scale * h - height) <= max(1.0, 0.02 * height):
            continue
        if crop:
            raise ValueError(
                f"crop_width: the part of the hands' picture has {w:g} x {h:g} pixels, but the latent has the shape "
                f"{width} x {height}; give a part of the shape that this model draws."
            )
        raise ValueError(
            f"features: the hands lie in a picture of {w} x {h} pixels, but the latent has the shape "
            f"{width} x {height}; put Place Hands before Encode Hands and give it the width and height of the "
            "picture that you make."
        )


def load_network(path: str | Path) -> Network:
    """A HanDrawer file as the host handles networks: built from its layers, on its offload device.

    Raises:
        ValueError: the file is missing, damaged, or of an unknown format; the sentence names it.
    """
    adapter = load(path, operations=comfy.ops.manual_cast)
    if adapter.metadata is None:
        raise ValueError(f"{path} does not say what it was made for: choose another file.")
    adapter.requires_grad_(False)
    patcher = comfy.model_patcher.ModelPatcher(
        adapter, load_device=mm.get_torch_device(), offload_device=mm.unet_offload_device()
    )
    return Network(Path(path).name, adapter, adapter.metadata, patcher)


@torch.no_grad()
def encode(network: Network, hands: Hands) -> Features:
    """Run the GCN over the hands.

    Args:
        hands: of the adapter's hand model, see :func:`refitted`.

    Raises:
        ValueError: the adapter's hand model is not at hand.
    """
    config = network.adapter.config
    model = hand_model(config.hand_model)
    mm.load_models_gpu([network.patcher], force_full_load=True)
    device = network.patcher.load_device
    # Outside the host's inference mode: the hand model is kept once loaded, and estimating needs gradients through it.
    with torch.inference_mode(False):
        inputs = hand_inputs(hands, model, raster=config.raster, device=device)
    return Features(network, hands, network.adapter.encode(inputs).to(mm.intermediate_device()))


def refitted(network: Network, hands: Hands) -> tuple[Hands, str]:
    """The hands as the adapter knows them, and what there is to say: hands of another model that were brought over.

    Raises:
        ValueError: naming the input, if that is not possible.
    """
    name = network.adapter.config.hand_model
    hand_model(name)
    try:
        with torch.inference_mode(False):
            found, note = refit_for(hands, name)
    except ValueError as error:
        raise ValueError(f"hands: {error}") from error
    if not any(hand.enabled for frame in found.frames for hand in frame.hands):
        note = "No hand: the model will draw alone."
    return found, note


def hand_model(name: str) -> HandModel:
    """The hand model of that name.

    Raises:
        ValueError: it neither comes with the project, nor has been loaded, nor is the one file in models/hand_models.
    """
    found = found_model(name)
    if found is None:
        raise ValueError(
            f"handrawer: this adapter was trained with the hand model {name!r}, which is not at hand; put its file "
            "into models/hand_models and load it with Load Hand Model, or choose an adapter trained with 'open'."
        )
    return found


def describe_model(model) -> UNetDescription | None:
    """The UNet in a MODEL, or None if it is none that HanDrawer knows: Flux and the like have no input blocks, and
    video UNets mix their pictures."""
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    unet = model.model.diffusion_model
    config = model.model.model_config.unet_config
    if not isinstance(unet, UNetModel) or config.get("use_temporal_attention") or config.get("use_temporal_resblock"):
        return None
    width = config.get("context_dim") or 0
    channels = model.model.latent_format.latent_channels  # not the UNet's: an inpainting UNet has more
    return describe_comfy(unet, channels, width)


def check_fit(network: Network, model) -> None:
    """Refuse a MODEL that the adapter was not made for.

    Raises:
        ValueError: naming the file, its base and the model.
    """
    found = describe_model(model)
    if found is None:
        kind = type(model.model.model_config).__name__
        raise ValueError(
            f"model: HanDrawer steers {SUPPORTED}, and this MODEL ({kind}) is of another kind; connect one of those, "
            "or give this model the depth and the mask of Render Hands through a ControlNet of its own."
        )
    try:
        check_fits(network.metadata, found, network.name)
    except ValueError as error:
        raise ValueError(f"model: {error}") from None
