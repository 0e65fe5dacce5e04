"""HanDrawer in diffusers' pipelines: `with attach(pipeline, adapter, hands): pipeline(prompt, ...)`.

Nothing of a pipeline is replaced. A hook in front of its UNet sees which rows a call has, of which size, under which
text and at which timestep, and hooks behind the UNet's blocks add the maps that belong there. It works with every
pipeline that has a `UNet2DConditionModel`: text to image, image to image, inpainting, with ControlNet, LoRA or
IP-Adapter, of SD1.x, SD2.x and SDXL.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..hand.hands import Frame, Hands
from ..hand.model import HandModel, known_model
from .checkpoint import check_fits
from .config import AdapterMetadata
from .controls import check_levels, check_mask, controlled
from .handrawer import HanDrawer, HandTokens
from .inputs import hand_inputs
from .unet import UNetDescription, describe_diffusers

logger = logging.getLogger("handrawer")


@contextmanager
def attach(
    pipeline: Any,
    adapter: HanDrawer,
    hands: Hands | Frame,
    *,
    strength: float = 1.0,
    start: float = 0.0,
    end: float = 1.0,
    levels: Mapping[int, float] | None = None,
    weights: Sequence[float] | None = None,
    mask: Tensor | None = None,
    negative_hand: str | None = None,
    model: HandModel | None = None,
) -> Iterator[Attachment]:
    """Make a pipeline draw hands while the context is open.

    pipeline       a diffusers pipeline with a `UNet2DConditionModel`; its calls need no further arguments
    adapter        for this base (`handrawer.adapter.checkpoint.load`); it runs where its weights are
    hands          the hands of one picture, or of a batch. As many frames as prompts: a frame for each prompt, whatever
                   `num_images_per_prompt` is; as many as pictures: one for each; else they repeat in turn
    strength       factor of all maps; 0 leaves the pipeline's pictures as they are, to the last bit
    start, end     share of the sampling, 0 to 1, in which the hands steer, in training timesteps as in ComfyUI
    levels         factors level -> factor (0 is the finest), 1 where not named
    weights        a factor for each enabled hand, frame by frame
    mask           [y, x] or one for each picture [M, y, x] in 0..1: where the hands steer
    negative_hand  "same" or "none", what the negative prompt's rows get; None: as the adapter was trained
    model          the hand model, if it is not a known one

    Each row of a call gets maps made with its own prompt's text, as the pipeline has encoded it. Contexts may be
    nested: their maps add up. On leaving, also by an exception, the pipeline is as it was.

    Raises ValueError with a sentence if adapter, UNet and hands do not fit, and in the pipeline's call if the picture
    has another shape than the hands' (`hands.placed(width, height)` helps). A picture that the pipeline crops itself
    (`padding_mask_crop`) cannot be noticed: crop the hands alike, see `handrawer.hand.transform`.
    """
    settings = Settings(strength, start, end, dict(levels or {}), mask, negative_hand or adapter.negative_hand)
    attachment = Attachment(pipeline, adapter, _encoded(adapter, hands, weights, model), settings)
    attachment.open()
    try:
        yield attachment
    finally:
        attachment.close()


@dataclass(frozen=True)
class Settings:
    """The run-time controls of one attachment, checked by it."""

    strength: float
    start: float
    end: float
    levels: Mapping[int, float]
    mask: Tensor | None
    negative_hand: str

    def check(self, description: UNetDescription, scheduler: Any) -> None:
        check_levels(description, self.levels)
        if self.mask is not None:
            check_mask(self.mask)
        if not 0 <= self.start <= self.end <= 1:
            raise ValueError(f"start and end must be 0 <= start <= end <= 1, not {self.start:g} and {self.end:g}.")
        if self.negative_hand not in ("same", "none"):
            raise ValueError(f'negative_hand must be "same" or "none", not {self.negative_hand!r}.')
        if (self.start, self.end) != (0, 1) and "EDM" in type(scheduler).__name__:
            raise ValueError(
                f"start and end count training timesteps, which {type(scheduler).__name__} does not have: leave them 0 "
                "and 1, or use another scheduler."
            )

    def active(self, timestep: Tensor | float, timesteps: int) -> bool:
        """Whether anything is added at a training timestep; the ends of 0 and 1 are never cut by rounding."""
        if self.strength == 0 or self.start == self.end:
            return False
        if (self.start, self.end) == (0, 1):
            return True  # without looking at the timestep, which may lie on a busy GPU
        time = float(timestep.flatten()[0]) if isinstance(timestep, Tensor) else float(timestep)
        early = self.start > 0 and time > (1 - self.start) * (timesteps - 1)
        late = self.end < 1 and time < (1 - self.end) * (timesteps - 1)
        return not early and not late


@dataclass(frozen=True)
class Encoded:
    """Hands through the graph network, and the frames that they belong to."""

    tokens: HandTokens
    sizes: tuple[tuple[int, int], ...]
    """Width and height of each frame's picture."""

    def __len__(self) -> int:
        """Frames."""
        return len(self.sizes)

    @property
    def empty(self) -> bool:
        return not len(self.tokens.inputs)

    def pictures(self, frames: Sequence[int]) -> HandTokens:
        """The hands of new pictures: picture k shows frame frames[k]."""
        inputs = self.tokens.inputs
        hands, pictures = [], []
        for k, frame in enumerate(frames):
            own = (inputs.picture == frame).nonzero().flatten()
            hands.append(own)
            pictures.append(torch.full_like(own, k))
        chosen = self.tokens.hand(torch.cat(hands))
        placed = torch.cat(pictures)
        sizes = inputs.sizes[torch.tensor(frames, device=inputs.sizes.device)]
        return HandTokens(chosen.tokens, dataclasses.replace(chosen.inputs, picture=placed, sizes=sizes))


@torch.no_grad()
def _encoded(
    adapter: HanDrawer, hands: Hands | Frame, weights: Sequence[float] | None, model: HandModel | None
) -> Encoded:
    hands = Hands((hands,)) if isinstance(hands, Frame) else hands
    if not hands.frames:
        raise ValueError("There is no picture of hands: give at least one frame, which may be empty.")
    name = adapter.config.hand_model
    model = model or known_model(name)
    if model is None:
        raise ValueError(f"This adapter was trained with the hand model {name!r}, which is not here: pass it as model.")
    adapter.check_model(model)
    device = next(adapter.parameters()).device
    tokens = adapter.encode(hand_inputs(hands, model, adapter.config.raster, device))
    if weights is not None:
        tokens = tokens.weighted(weights)
    return Encoded(tokens, tuple((frame.width, frame.height) for frame in hands.frames))


@dataclass(frozen=True)
class Prompts:
    """What the pipeline has encoded: texts [B, L, D] of B pictures, and how many of them each prompt gets."""

    positive: Tensor | None
    negative: Tensor | None
    images_per_prompt: int


@dataclass(frozen=True)
class Row:
    """What a row of a UNet call shows: a picture of the batch, and whether under the negative prompt."""

    picture: int
    negative: bool


class Attachment:
    """One adapter with its hands on one pipeline. `attach` makes, opens and closes it."""

    def __init__(self, pipeline: Any, adapter: HanDrawer, hands: Encoded, settings: Settings) -> None:
        self.pipeline, self.adapter, self.hands, self.settings = pipeline, adapter, hands, settings
        unet = getattr(pipeline, "unet", None)
        if not isinstance(unet, nn.Module):
            kind = type(pipeline).__name__
            raise ValueError(f"{kind} has no UNet for HanDrawer to steer: use a pipeline of SD1.x, SD2.x or SDXL.")
        self.unet: Any = unet
        scheduler = getattr(pipeline, "scheduler", None)
        config: Any = getattr(scheduler, "config", {})
        prediction = config.get("prediction_type") if hasattr(config, "get") else None
        known = prediction if prediction in ("epsilon", "v_prediction") else None
        self.description = describe_diffusers(unet, known)
        check_fits(adapter.metadata or AdapterMetadata(adapter.config), self.description, "This adapter")
        settings.check(self.description, scheduler)
        self.timesteps = int(config.get("num_train_timesteps", 1000)) if hasattr(config, "get") else 1000
        self.prompts: Prompts | None = None
        self._handles: list[Any] = []
        self._additions: dict[int, Tensor] = {}
        self._made: tuple[tuple, Tensor, dict[int, Tensor]] | None = None
        self._said: set[str] = set()

    # ------------------------------------------------------------ on and off

    def open(self) -> None:
        self._handles.append(self.unet.register_forward_pre_hook(self._before, with_kwargs=True))
        self._handles.append(self.unet.register_forward_hook(self._after, always_call=True))
        for site in self.adapter.config.unet.sites:
            module = self.unet.get_submodule(self._module(site.block))
            self._handles.append(module.register_forward_hook(functools.partial(self._add, site.block)))
        self._listen()

    def close(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._additions, self._made, self.prompts = {}, None, None
        self._forget()

    def _module(self, block: int) -> str:
        return next(site.module for site in self.description.sites if site.block == block)

    def _listen(self) -> None:
        """Look over the shoulder of the pipeline's own encoding: it tells prompts from pictures."""
        encode = getattr(self.pipeline, "encode_prompt", None)
        self._forget: Callable[[], None] = lambda: None
        if not callable(encode):
            return

        @functools.wraps(encode)
        def listening(*args: Any, **kwargs: Any) -> Any:
            given = inspect.signature(encode).bind(*args, **kwargs).arguments
            found: Any = encode(*args, **kwargs)
            positive, negative = (t if isinstance(t, Tensor) else None for t in found[:2])
            self.prompts = Prompts(positive, negative, int(given.get("num_images_per_prompt") or 1))
            return found

        before = self.pipeline.__dict__.get("encode_prompt")
        self.pipeline.__dict__["encode_prompt"] = listening

        def forget() -> None:
            if before is None:
                self.pipeline.__dict__.pop("encode_prompt", None)
            else:
                self.pipeline.__dict__["encode_prompt"] = before

        self._forget = forget

    # ------------------------------------------------------------ in a call

    def _before(self, _unet: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        names = ("sample", "timestep", "encoder_hidden_states")
        given = {**dict(zip(names, args, strict=False)), **{name: kwargs[name] for name in names if name in kwargs}}
        sample, text = given["sample"], given["encoder_hidden_states"]
        self._additions = {}
        if self.hands.empty or not self.settings.active(given["timestep"], self.timesteps):
            return
        rows = self._rows(text)
        name = (tuple(sample.shape[-2:]), sample.dtype, sample.device, rows, text.shape)
        made = self._made
        if made is None or made[0] != name or not (made[1] is text or torch.equal(made[1], text)):
            made = (name, text, self._make(sample, text, rows))
            self._made = made
        self._additions = made[2]

    def _after(self, _unet: nn.Module, _args: tuple, _output: Any) -> None:
        self._additions = {}  # the UNet may be called by others between two calls of the pipeline

    def _add(self, block: int, _module: nn.Module, _args: tuple, output: Any) -> Any:
        extra = self._additions.get(block)
        if extra is None:
            return output
        # Of the right type and on the right device already, unless something moves the UNet's blocks about.
        if isinstance(output, Tensor):
            return output + extra.to(output)
        if isinstance(output, tuple):
            return (output[0] + extra.to(output[0]), *output[1:])
        output.sample = output.sample + extra.to(output.sample)
        return output

    def _rows(self, text: Tensor) -> tuple[Row, ...]:
        """What the rows of a call show. diffusers stacks whole batches: negative, then positive, then what else."""
        count = len(text)
        guided = bool(getattr(self.pipeline, "do_classifier_free_guidance", False))
        prompts = self.prompts
        pictures = count // 2 if guided and count % 2 == 0 else count
        if prompts is not None and prompts.positive is not None and count % len(prompts.positive) == 0:
            pictures = len(prompts.positive)
        stacks = count // pictures
        if stacks <= 2:
            return tuple(Row(i % pictures, guided and stacks == 2 and i < pictures) for i in range(count))
        return tuple(Row(i % pictures, self._is_negative(text[i], i % pictures)) for i in range(count))

    def _is_negative(self, text: Tensor, picture: int) -> bool:
        """Pipelines with three stacks (perturbed attention, editing) put them in orders of their own."""
        prompts = self.prompts
        if prompts is None or prompts.negative is None or prompts.positive is None:
            return False
        own, other = (t[picture % len(t)].to(text) for t in (prompts.positive, prompts.negative))
        return torch.equal(text, other) and not torch.equal(text, own)

    def _turn(self, picture: int, pictures: int, have: int) -> int:
        """Which of `have` frames or masks a picture of the batch gets."""
        each = self.prompts.images_per_prompt if self.prompts else 1
        if have not in (1, pictures) and have == pictures // each:
            return picture // each
        return picture % have

    @torch.no_grad()
    def _make(self, sample: Tensor, text: Tensor, rows: tuple[Row, ...]) -> dict[int, Tensor]:
        """What is added to a call, [rows or 1, C, h, w] in the UNet's type on its device, made once for all its steps.

        Rows with the same hands, mask and text share one map.
        """
        height, width = sample.shape[-2:]
        self._check_shape(height, width)
        mask = None if self.settings.mask is None else check_mask(self.settings.mask)
        kinds, index = self._kinds(rows, text, 1 if mask is None else len(mask))
        if not kinds:
            return {}
        tokens = self.hands.pictures([frame for frame, _, _ in kinds])
        texts = text[[row for _, _, row in kinds]].to(tokens.inputs.box.device)
        maps = self.adapter.residuals(tokens, height, width, texts)
        maps = controlled(
            maps,
            self.adapter.config.unet,
            height,
            width,
            strength=self.settings.strength,
            levels=self.settings.levels,
            mask=None if mask is None else mask[[m for _, m, _ in kinds]],
        )
        return {block: _spread(values.to(sample.device, sample.dtype), index) for block, values in maps.items()}

    def _kinds(self, rows: tuple[Row, ...], text: Tensor, masks: int) -> tuple[list[tuple[int, int, int]], list[int]]:
        """The different maps that rows need, each (frame, mask, row with its text), and which of them each row gets."""
        pictures = max(row.picture for row in rows) + 1
        self._tell(pictures, len(self.hands))
        kinds: list[tuple[int, int, int]] = []
        index = []
        for i, row in enumerate(rows):
            if row.negative and self.settings.negative_hand == "none":
                index.append(-1)
                continue
            shown = self._turn(row.picture, pictures, len(self.hands)), self._turn(row.picture, pictures, masks)
            same = (k for k, kind in enumerate(kinds) if kind[:2] == shown and torch.equal(text[kind[2]], text[i]))
            place = next(same, len(kinds))
            if place == len(kinds):
                kinds.append((*shown, i))
            index.append(place)
        return kinds, index

    def _check_shape(self, height: int, width: int) -> None:
        pixels = int(getattr(self.pipeline, "vae_scale_factor", 8))
        for w, h in self.hands.sizes:
            scale = (width * height / (w * h)) ** 0.5  # latent cells a pixel; sides are rounded to whole cells
            if abs(scale * w - width) > max(1.0, 0.02 * width) or abs(scale * h - height) > max(1.0, 0.02 * height):
                raise ValueError(
                    f"The hands lie in a picture of {w} x {h} pixels, but the pipeline draws one of "
                    f"{width * pixels} x {height * pixels}: place them first with "
                    f"hands.placed({width * pixels}, {height * pixels})."
                )

    def _tell(self, pictures: int, have: int) -> None:
        each = self.prompts.images_per_prompt if self.prompts else 1
        if have in (1, pictures, pictures // each):
            return
        what = "they repeat in turn" if have < pictures else f"only the first {pictures} are used"
        said = f"Hands of {have} pictures serve {pictures} pictures: {what}."
        if said not in self._said:
            self._said.add(said)
            logger.warning(said)


def _spread(values: Tensor, index: list[int]) -> Tensor:
    """Rows of values in the order of index, zeros for -1; one row if all are the same."""
    if len(set(index)) == 1 and index[0] >= 0:
        return values[index[0] : index[0] + 1].contiguous()
    if index == list(range(len(values))):
        return values.contiguous()
    empty = values.new_zeros(values.shape[1:])
    return torch.stack([values[k] if k >= 0 else empty for k in index])
