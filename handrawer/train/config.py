"""The configuration of a training on one's own base: a JSON file, or a dict of the same shape."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..synthetic.options import PRESETS, SyntheticOptions

SCHEDULES = ("cosine", "constant")
PRECISIONS = ("fp32", "bf16", "fp16")
KINDS = ("synthetic", "shards", "folder")


@dataclass(frozen=True)
class BaseConfig:
    """The frozen model.

    Attributes:
        path: a folder in diffusers layout, a single `.safetensors` checkpoint as canvas users have it, or "mini".
        prediction: "auto", "epsilon" or "v_prediction"; auto reads the scheduler of a folder and the marks in a file.
        vae: another VAE, folder in diffusers layout or `.safetensors`, or None for the base's own.
        clip_skip: 1 takes the text encoder's last layer, 2 the one before (SD1.x and SD2.x; SDXL has its own rule).
    """

    path: str = "mini"
    prediction: str = "auto"
    vae: str | None = None
    clip_skip: int = 1


@dataclass(frozen=True)
class AdapterConfig:
    """The HanDrawer that learns.

    Attributes:
        start: a HanDrawer file to go on from, or None for a new one.
        hand_model: name of the hand model that it encodes.
        negative_hand: "same" or "none", what the negative prompt's rows get on the canvas.
        changes: fields of HanDrawerConfig that differ from their defaults for this base (width, blocks, raster, ...).
    """

    start: str | None = None
    hand_model: str = "open"
    negative_hand: str = "same"
    changes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DataConfig:
    """What is learned from.

    Attributes:
        kind: "synthetic" (drawn while training), "shards" (what `data prepare` has written) or "folder" (pictures;
            their hands are estimated where there is no hands.json, captions lie beside them as .txt).
        path: the folder of shards or pictures; none for synthetic.
        size: a picture has about size x size pixels, a multiple of 64 (mini: 256).
        buckets: whether pictures keep their aspect ratio (sides are multiples of 64), or are all cropped square.
        seed: of the synthetic pictures.
        count: how many different synthetic pictures there are; None: no end.
        caption: for pictures without one.
        cache: a folder for latents and text features, which are then made once; or None. Not for synthetic pictures.
        no_hands: whether pictures without a hand are used as well.
        ahead: so many batches are made at once, in a thread beside the steps that run; 0: each when it is needed.
            None: 4 for synthetic pictures and 1 for others on a GPU, 0 on the CPU. Pictures of the generator that are
            drawn together differ from those drawn alone by rounding, nothing else depends on it.
        synthetic: what may be in synthetic pictures besides one hand, each with its probability; in a file also
            "plain" (nothing) or "full". Not for mini, whose words know one hand alone.
    """

    kind: str = "synthetic"
    path: str | None = None
    size: int = 512
    buckets: bool = True
    seed: int = 1
    count: int | None = None
    caption: str = "a photo of a hand"
    cache: str | None = None
    no_hands: bool = False
    ahead: int | None = None
    synthetic: SyntheticOptions = field(default_factory=SyntheticOptions)


@dataclass(frozen=True)
class LossConfig:
    """Weights of the losses, see `losses.py`.

    Attributes:
        denoising, hand: of the denoising loss over the picture, and of the hand reconstruction loss.
        gamma, floor: every noise level counts with its SNR, clamped to floor..gamma.
    """

    denoising: float = 1.0
    hand: float = 0.5
    gamma: float = 5.0
    floor: float = 0.0


@dataclass(frozen=True)
class DropConfig:
    """Shares of samples.

    Attributes:
        text: the base sees the empty prompt, the adapter its null text: what guidance needs.
        hand: no residuals at all. With a frozen base such a sample teaches the adapter nothing; it is for training
            with a ControlNet, which then learns to draw without a HanDrawer too.
        box_only: the adapter is given box and text, not the hand.
    """

    text: float = 0.1
    hand: float = 0.0
    box_only: float = 0.1


@dataclass(frozen=True)
class OptimiserConfig:
    """AdamW.

    Attributes:
        rate, warmup: learning rate at its peak, and steps until it is reached.
        schedule: "cosine" (down to a hundredth at the last step) or "constant".
        weight_decay: on matrices; vectors have none.
        clip: greatest norm of the gradients, those of a ControlNet apart.
        ema: decay of the averaged weights, which are what is saved in the end; 0: none.
        eight_bit: bitsandbytes' 8-bit AdamW, where it is installed.
    """

    rate: float = 1e-4
    warmup: int = 100
    schedule: str = "cosine"
    weight_decay: float = 0.01
    clip: float = 1.0
    ema: float = 0.999
    eight_bit: bool = False


@dataclass(frozen=True)
class ControlConfig:
    """A depth ControlNet that is trained with the adapter, as the paper does.

    Attributes:
        start: a ControlNet in diffusers layout to go on from, or None: a new one from the base's own encoder.
        rate: its learning rate.
        scale: factor of its residuals.
    """

    start: str | None = None
    rate: float = 1e-5
    scale: float = 1.0


@dataclass(frozen=True)
class ValidationConfig:
    """Pictures and scores at intervals, drawn with the averaged weights.

    Attributes:
        every: steps between them, also at the end; 0: never.
        count: held-out pictures whose hands are drawn; they are never trained on.
        steps, guidance: of sampling.
        seed: of the noise, and of the held-out synthetic pictures.
    """

    every: int = 0
    count: int = 4
    steps: int = 20
    guidance: float = 5.0
    seed: int = 1234


@dataclass(frozen=True)
class TrainConfig:
    """A whole training.

    Attributes:
        out: folder for the log, the state to go on from, pictures and the finished `handrawer.safetensors`.
        seed: of weights, order, noise and drops. Each sample's random numbers follow from the seed and the sample's
            place in the whole run, never from the process that it runs in.
        steps, batch, accumulate: a step takes batch x accumulate samples in every process.
        precision: the base's weights and what is computed with them: "fp32", "bf16" or "fp16". What learns is float32.
        checkpointing: gradient checkpointing of the UNet (and of the ControlNet): less memory, about a third slower.
        timesteps: "uniform", or "cubic", which draws noisy ones more often (Mou et al. 2023, arXiv 2302.08453).
        device: "auto", "cpu", "cuda", ...; several processes each take their own GPU.
        graph: on a GPU, whether a step is recorded once for each shape of batch and replayed (see `recorded.py`). Not
            yet tried on one.
        log_every, save_every: steps between lines of the log, and between states to go on from.
    """

    out: str
    base: BaseConfig = field(default_factory=BaseConfig)
    adapter: AdapterConfig = field(default_factory=AdapterConfig)
    data: DataConfig = field(default_factory=DataConfig)
    losses: LossConfig = field(default_factory=LossConfig)
    drop: DropConfig = field(default_factory=DropConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    control: ControlConfig | None = None
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    seed: int = 0
    steps: int = 10_000
    batch: int = 4
    accumulate: int = 1
    precision: str = "bf16"
    checkpointing: bool = False
    timesteps: str = "uniform"
    device: str = "auto"
    graph: bool = False
    log_every: int = 10
    save_every: int = 500

    def __post_init__(self) -> None:
        for problem in _problems(self):
            raise ValueError(problem)


def _problems(c: TrainConfig) -> typing.Iterator[str]:
    def choice(name: str, value: str, allowed: tuple[str, ...]) -> typing.Iterator[str]:
        if value not in allowed:
            yield f"'{name}' is '{value}': choose one of {', '.join(allowed)}."

    yield from choice("precision", c.precision, PRECISIONS)
    yield from choice("timesteps", c.timesteps, ("uniform", "cubic"))
    yield from choice("data.kind", c.data.kind, KINDS)
    yield from choice("base.prediction", c.base.prediction, ("auto", "epsilon", "v_prediction"))
    yield from choice("adapter.negative_hand", c.adapter.negative_hand, ("same", "none"))
    yield from choice("optimiser.schedule", c.optimiser.schedule, SCHEDULES)
    for name in ("steps", "batch", "accumulate", "log_every", "save_every"):
        if getattr(c, name) < 1:
            yield f"'{name}' is {getattr(c, name)}: it must be at least 1."
    for name, share in dataclasses.asdict(c.drop).items():
        if not 0 <= share <= 1:
            yield f"'drop.{name}' is {share}: it is a share of the samples, from 0 to 1."
    if c.data.size < 64 or c.data.size % 64:
        yield f"'data.size' is {c.data.size}: give a multiple of 64."
    if c.data.kind != "synthetic" and not c.data.path:
        yield f"'data.kind' is '{c.data.kind}', but no 'data.path' says where the data lie."
    if c.data.count is not None and c.data.count < 1:
        yield f"'data.count' is {c.data.count}: give at least 1, or null for no end."
    if c.data.ahead is not None and c.data.ahead < 0:
        yield f"'data.ahead' is {c.data.ahead}: give 0 or more, or null."
    if c.drop.hand >= 1 and c.control is None:
        yield "'drop.hand' is 1: no sample would have a hand, and nothing would be learned."
    if not 0 <= c.optimiser.ema < 1:
        yield f"'optimiser.ema' is {c.optimiser.ema}: it must lie from 0 to below 1."


def read_train_config(path: str | Path) -> TrainConfig:
    """A configuration from a JSON file; ValueError with a sentence for anything that is wrong with it."""
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"There is no configuration {path}: docs/training.md says what goes into one.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON ({error}): docs/training.md has examples.") from None
    try:
        return make_config(values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def make_config(values: Any) -> TrainConfig:
    """A configuration from a dict as the JSON file holds it; ValueError as above.

    "base" may be its path alone, and "data.synthetic" the name of one of PRESETS.
    """
    if not isinstance(values, dict):
        raise ValueError("A configuration is a JSON object, with 'out' and 'base'.")
    if "out" not in values:
        raise ValueError("It does not say where to write: add the key 'out'.")
    if isinstance(values.get("base"), str):
        values = {**values, "base": {"path": values["base"]}}
    data = values.get("data")
    if isinstance(data, dict) and isinstance(data.get("synthetic"), str):
        if data["synthetic"] not in PRESETS:
            known = ", ".join(f'"{name}"' for name in PRESETS)
            raise ValueError(f"'data.synthetic' is \"{data['synthetic']}\": choose {known}, or give an object.")
        values = {**values, "data": {**data, "synthetic": dataclasses.asdict(PRESETS[data["synthetic"]])}}
    return _build(TrainConfig, values, "")


def _build(kind: Any, values: Any, prefix: str) -> Any:
    if not isinstance(values, dict):
        raise ValueError(f"'{prefix.rstrip('.')}' is {json.dumps(values)}: it must be an object.")
    hints = typing.get_type_hints(kind)
    if unknown := sorted(set(values) - set(hints)):
        raise ValueError(f"Unknown key '{prefix}{unknown[0]}': the keys there are {', '.join(sorted(hints))}.")
    made = {}
    for name, value in values.items():
        part = next((k for k in _kinds(hints[name]) if dataclasses.is_dataclass(k)), None)
        if part is not None and value is not None:
            made[name] = _build(part, value, f"{prefix}{name}.")
        else:
            made[name] = _checked(value, hints[name], prefix + name)
    return kind(**made)


def _kinds(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)


def _checked(value: Any, hint: Any, name: str) -> Any:
    kinds = tuple(typing.get_origin(kind) or kind for kind in _kinds(hint))
    if type(value) in kinds:
        return value
    if float in kinds and type(value) is int:
        return float(value)
    wanted = " or ".join("null" if kind is type(None) else kind.__name__ for kind in kinds)
    raise ValueError(f"'{name}' is {json.dumps(value)}: it must be {wanted}.")
