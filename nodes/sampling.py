"""HanDrawer inside the host's sampler.

Which row of a UNet call shows which part of which picture under which prompt is known in one place only, where the
host turns conditionings into calls (CALC_COND_BATCH): areas crop, low memory splits, context windows and batches
reorder. So there every conditioning gets two integer tensors, which the host crops, repeats and concatenates exactly
like the latent: where each cell lies, and which map its row takes. Around the UNet itself (DIFFUSION_MODEL) they are
read back, and a patch made for this one call adds the maps behind the blocks that the adapter names.

Nothing is kept between calls but what a sampling run has looked up; wrappers are closures, since objects in a MODEL's
options are deep-copied by every node that clones it.
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import comfy.conds
import comfy.patcher_extension
import torch
from torch import Tensor

from . import notes, tiles
from .network import WHOLE, Features, Maps, TextKey, View, text_key
from .places import Extent, extent
from .windows import CallRows, add_all, mask_map, rows_of

POSITIVE, NEGATIVE = "positive", "negative"
TAG = "handrawer"  # on a conditioning: {key of the apply node: POSITIVE or NEGATIVE}
Wrappers = comfy.patcher_extension.WrappersMP


@dataclass(frozen=True)
class Injection:
    """What one apply node adds to a MODEL. Immutable; shared by every clone of the MODEL.

    Attributes:
        key: the node's own id, so that several nodes add up and one node counts once.
        features: the hands.
        strength: factor of the maps.
        start, end: share of the sampling, 0 to 1, between which the maps are added.
        mask: [M, y, x] in 0..1 over the whole picture, of any size, a further factor; or None.
        levels: a further factor for each level, finest first; levels beyond them count as 1.
        view: which part of the hands' picture is drawn, and how much each hand counts.
        by_tiles: whether the conditionings say which part of that each call draws.
    """

    key: str
    features: Features
    strength: float
    start: float
    end: float
    mask: Tensor | None = None
    levels: tuple[float, ...] = ()
    view: View = WHOLE
    by_tiles: bool = False

    def regions_of(self, cond: dict) -> tiles.Regions | None:
        """The parts of the picture that a conditioning says it is for, of the latents of a batch in turn."""
        return tiles.regions_of(cond.get("control"), self.key) if self.by_tiles else None

    @property
    def pictures(self) -> int:
        """How many pictures the maps are for: further ones of a batch begin again at the first."""
        return self.features.pictures if self.mask is None else math.lcm(self.features.pictures, len(self.mask))

    @property
    def name(self) -> str:
        return f"{TAG}_{self.key}"

    def active(self, model, timestep: Tensor) -> bool:
        """Whether anything is added at this noise level."""
        if self.strength == 0 or self.start >= self.end or not self.features.hands:
            return False
        if not any(self.factor(level) for level in self.features.network.levels.values()):
            return False
        sampling = model.model_sampling  # here, not in the node: a later node may patch another one in
        sigma = float(timestep[0])
        return float(sampling.percent_to_sigma(self.end)) <= sigma <= float(sampling.percent_to_sigma(self.start))

    def factor(self, level: int) -> float:
        """What a level's maps are multiplied with."""
        return self.strength * (self.levels[level] if level < len(self.levels) else 1.0)


@dataclass
class Run:
    """What one sampling run has looked up; dropped when it ends.

    ``latent`` is the shape of what is sampled, None where the sampling did not begin in the host's own way.
    """

    key: str = ""
    latent: torch.Size | None = None
    texts: dict[int, tuple[Tensor, TextKey]] = field(default_factory=dict)
    split: dict[int, tuple[Tensor, list[Tensor]]] = field(default_factory=dict)
    maps: dict[tuple, Maps] = field(default_factory=dict)
    moved: dict[tuple, Tensor] = field(default_factory=dict)
    warned: set[str] = field(default_factory=set)

    def text_key(self, text: Tensor) -> TextKey:
        """The text's key; the text is kept, so that its id stays its own."""
        if id(text) not in self.texts:
            forget(self.texts)
            self.texts[id(text)] = (text, text_key(text))
        return self.texts[id(text)][1]

    def rows(self, text: Tensor | None) -> list[Tensor | None]:
        """A text's rows [1, L, D], the same objects every time; picture b takes row b modulo their number."""
        if text is None or text.shape[0] == 1:
            return [text]
        if id(text) not in self.split:
            forget(self.split)
            self.split[id(text)] = (text, list(text.split(1)))
        return list(self.split[id(text)][1])

    def warn(self, sentence: str) -> None:
        if sentence not in self.warned:
            self.warned.add(sentence)
            notes.tell(self.key, sentence)


def forget(known: dict, most: int = 64) -> None:
    """Make room for one more: context windows cut the texts of a batch anew for every call."""
    while len(known) >= most:
        del known[next(iter(known))]


@dataclass(frozen=True)
class Call:
    """What one prepared call of the sampler carries to the UNet. ``variants`` is empty while nothing is added."""

    injection: Injection
    run: Run
    height: int = 0
    width: int = 0
    variants: tuple[Maps | None, ...] = ()


def tagged(conditioning: list | None, key: str, role: str) -> list | None:
    """A conditioning whose every entry names this apply node; entries are copied, never changed."""
    if conditioning is None:
        return None
    return [[entry[0], {**entry[1], TAG: {**entry[1].get(TAG, {}), key: role}}] for entry in conditioning]


def patched(model, injection: Injection):
    """A clone of the MODEL with the injection; the network comes along, so that the host loads it with the UNet."""
    model = model.clone()
    runs: list[Run] = []
    wrappers = {
        Wrappers.OUTER_SAMPLE: outer_sample_wrapper(injection, runs),
        Wrappers.CALC_COND_BATCH: calc_cond_batch_wrapper(injection, runs),
        Wrappers.DIFFUSION_MODEL: diffusion_model_wrapper(injection),
    }
    for place, wrapper in wrappers.items():
        model.remove_wrappers_with_key(place, injection.name)
        model.add_wrapper_with_key(place, injection.name, wrapper)
    model.set_additional_models(injection.name, [injection.features.network.patcher])
    return model


def outer_sample_wrapper(injection: Injection, runs: list[Run]) -> Callable:
    def wrapper(executor, *args, **kwargs):
        latent = args[1] if len(args) > 1 else kwargs.get("latent_image")
        shape = latent.shape if isinstance(latent, Tensor) else None
        check_latent(shape, executor.class_obj)
        run = Run(injection.key, shape)
        tell_counts(injection, run)
        runs.append(run)
        try:
            return executor(*args, **kwargs)
        finally:
            runs.pop()

    return wrapper


def check_latent(shape: torch.Size | None, guider) -> None:
    """Refuse a latent of another kind of model, before the UNet fails on it.

    Raises:
        ValueError: naming both numbers of channels.
    """
    patcher = getattr(guider, "model_patcher", None)
    if shape is None or patcher is None:
        return
    channels = patcher.model.latent_format.latent_channels
    if shape[1] != channels:
        raise ValueError(
            f"latent_image: it has {shape[1]} channels, but this model draws in latents of {channels}; make it with "
            "Empty Latent Image or with the VAE that belongs to the model."
        )


def tell_counts(injection: Injection, run: Run) -> None:
    """Say once a run where the lists of hands and the pictures are not equally many, or where there is no hand."""
    if not injection.features.hands:
        run.warn("There is no hand to draw, so the model draws alone.")
    pictures, batch = injection.pictures, run.latent[0] if run.latent is not None else 0
    if batch and pictures not in (1, batch):
        what = "they repeat in turn" if pictures < batch else f"only the first {batch} are used"
        run.warn(f"The hands of {pictures} pictures serve a batch of {batch}: {what}.")


def calc_cond_batch_wrapper(injection: Injection, runs: list[Run]) -> Callable:
    def wrapper(executor, model, conds, x_in, timestep, model_options):
        run = runs[-1] if runs else Run(injection.key)
        call = Call(injection, run)
        if injection.active(model, timestep):
            conds, call = prepare(injection, run, conds, x_in, model_options)
        if injection.by_tiles:
            key = injection.key
            conds = [None if group is None else [tiles.without_place(cond, key) for cond in group] for group in conds]
        options = model_options.get("transformer_options", {})
        model_options = {**model_options, "transformer_options": {**options, injection.name: call}}
        return executor(model, conds, x_in, timestep, model_options)

    return wrapper


def prepare(injection: Injection, run: Run, conds: list, x_in: Tensor, model_options: dict) -> tuple[list, Call]:
    """Give every conditioning its two integer tensors.

    Args:
        conds: the host's lists of conditionings, None where a list is left out.
        x_in: [B, C, H, W], the whole latent.
    """
    shown = extent(x_in, model_options.get("transformer_options", {}), run.latent)
    found = (injection.regions_of(cond) for group in conds for cond in group or ())
    anywhere = next(filter(None, found), tiles.WHOLE)
    if len(anywhere) > 1:  # tiles are put together to a batch, picture by picture
        each = tiles.period(anywhere)
        shown = dataclasses.replace(shown, pictures=tuple(i // each for i in range(len(shown.pictures))))
    places = shown.places(x_in.device)
    variants: list[Maps | None] = []
    numbers: dict[tuple, int] = {}

    def variant(text: Tensor | None, wanted: bool, region: tiles.Region) -> int:
        name = (wanted, text is not None and run.text_key(text), region)
        if name not in numbers:
            numbers[name] = len(variants)
            variants.append(look_up(injection, run, shown, text, region) if wanted else None)
        return numbers[name]

    result: list[list[dict] | None] = []
    for group in conds:
        if group is None:
            result.append(None)
            continue
        prepared = []
        for cond in group:
            text, wanted = text_for(injection, run, cond, group)
            rows = run.rows(text)
            parts = injection.regions_of(cond) or anywhere  # prompts that did not pass the node show the same tiles
            # by the place in this call: a window's texts are cut like its pictures, and the host repeats too few
            chosen = [variant(rows[i % len(rows)], wanted, parts[i % len(parts)]) for i in range(len(shown.pictures))]
            extra = {
                f"{injection.name}_place": comfy.conds.CONDNoiseShape(places),
                f"{injection.name}_variant": comfy.conds.CONDRegular(
                    torch.tensor(chosen, dtype=torch.int32, device=x_in.device)[:, None]
                ),
            }
            prepared.append({**cond, "model_conds": {**cond["model_conds"], **extra}})
        result.append(prepared)
    return result, Call(injection, run, shown.height, shown.width, tuple(variants))


def text_for(injection: Injection, run: Run, cond: dict, group: list[dict]) -> tuple[Tensor | None, bool]:
    """The text that the hand's features are made with, and whether this conditioning gets the hand at all.

    None is the null text: the conditioning did not pass the apply node.
    """
    embedded = cond["model_conds"].get("c_crossattn")
    text = None if embedded is None else embedded.cond
    role = tag_of(cond, text, group, run).get(injection.key)
    if role == NEGATIVE and not injection.features.network.negative_hand:
        return None, False
    return (text if role else None), True


def tag_of(cond: dict, text: Tensor | None, group: list[dict], run: Run) -> dict:
    """A conditioning's tags.

    Where an area has no counterpart the host makes one: the opposite prompt's text in a copy of this conditioning,
    tags and all. Such a copy takes the tags of the conditioning that its text really belongs to.
    """
    own = cond.get("cross_attn")
    if text is None or own is None or run.text_key(own) == run.text_key(text):
        return cond.get(TAG, {})
    for other in group:
        theirs = other.get("cross_attn")
        if other is not cond and theirs is not None and run.text_key(theirs) == run.text_key(text):
            return other.get(TAG, {})
    return cond.get(TAG, {})


def look_up(injection: Injection, run: Run, shown: Extent, text: Tensor | None, region: tiles.Region) -> Maps:
    """The maps for a size, a text and a tile, made once; a run keeps what it uses, however many texts there are."""
    height, width = shown.height, shown.width
    name = (height, width, None if text is None else run.text_key(text), region)
    if name not in run.maps:
        view = injection.view.part(injection.features.sizes, region)
        maps = injection.features.maps(height, width, text, view)
        if injection.mask is not None:
            levels = injection.features.network.levels
            masked = {
                block: mask_map(tensor, injection.mask, levels[block], height, width, region)
                for block, tensor in maps.blocks.items()
            }
            maps = Maps(masked)
        run.maps[name] = maps
    return run.maps[name]


def diffusion_model_wrapper(injection: Injection) -> Callable:
    outside = Run(
        injection.key
    )  # for calls that did not come through CALC_COND_BATCH: it only remembers that this was said

    def wrapper(executor, *args, **kwargs):
        place = kwargs.pop(f"{injection.name}_place", None)
        variant = kwargs.pop(f"{injection.name}_variant", None)
        args = list(args)
        options = args[5] if len(args) > 5 else kwargs.get("transformer_options", {})
        call: Call | None = options.get(injection.name)
        if call is None:
            outside.warn("This sampler calls the model behind ComfyUI's back, so no hand is added.")
        elif place is not None and call.variants:
            if place.shape[-2:] != args[0].shape[-2:]:
                call.run.warn(
                    "Another node cuts the latent into tiles which HanDrawer cannot place; no hand is added to them. "
                    "Use ComfyUI's own nodes for tiles and areas."
                )
            else:
                options = with_patch(options, call, place, variant)
                if len(args) > 5:
                    args[5] = options
                else:
                    kwargs["transformer_options"] = options
        return executor(*args, **kwargs)

    return wrapper


class Adder:
    """An input block patch for one UNet call: what all HanDrawer nodes of the MODEL add, at once."""

    def __init__(self, parts: tuple[Callable[[Tensor, int], tuple[Tensor, float] | None], ...]) -> None:
        self.parts = parts

    def __call__(self, h: Tensor, to: dict) -> Tensor:
        found = [part(h, to["block"][1]) for part in self.parts]
        return add_all(h, [part for part in found if part is not None])


def with_patch(options: dict, call: Call, place: Tensor, variant: Tensor) -> dict:
    """Options with a patch for this one UNet call; it takes the place of the one of a HanDrawer node before."""
    rows = CallRows.read(place, variant, call.height, call.width, call.injection.pictures)
    sites = call.injection.features.network.levels

    def part(h: Tensor, block: int) -> tuple[Tensor, float] | None:
        factor = call.injection.factor(sites[block]) if block in sites else 0.0
        if not factor:
            return None
        maps = [None if m is None else on_device(call.run, m, block, h) for m in call.variants]
        found = rows_of(maps, rows, sites[block], h)
        return None if found is None else (found, factor)

    patches = options.get("patches", {})
    present = patches.get("input_block_patch", [])
    before = tuple(part for patch in present if isinstance(patch, Adder) for part in patch.parts)
    added = [*(patch for patch in present if not isinstance(patch, Adder)), Adder((*before, part))]
    return {**options, "patches": {**patches, "input_block_patch": added}}


def on_device(run: Run, maps: Maps, block: int, like: Tensor) -> Tensor:
    """A block's maps on the UNet's device in its type, moved once a run."""
    name = (id(maps), block, like.device, like.dtype)
    if name not in run.moved:
        run.moved[name] = maps.blocks[block].to(like)
    return run.moved[name]
