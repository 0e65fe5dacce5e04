"""Trains a HanDrawer for a frozen base: `python -m handrawer.train CONFIG`, or `train_adapter` from a program.

One stage, as the paper has it: the usual denoising loss over the whole picture plus the hand reconstruction loss. The
base's UNet, text encoders and VAE are frozen, the adapter learns; a depth ControlNet of the base may learn with it.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from ..adapter.checkpoint import check_fits, load, save
from ..adapter.handrawer import HanDrawer
from ..hand.model import HandModel, known_model
from .ahead import Ahead
from .bases import DTYPES, Base, checkpoint, load_base
from .batches import Batch, BatchMaker, Loader
from .buckets import Plan, bucket_sizes
from .cache import Cache
from .config import TrainConfig, make_config
from .learner import Learner
from .processes import Processes
from .recorded import RecordedSteps
from .records import Records
from .sources import Synthetic, held_out, open_source, open_synthetic
from .state import load_state, save_state
from .steps import DiffusersDenoiser, Noised, described, run_step

log = logging.getLogger("handrawer")
ADAPTER_FILE = "handrawer.safetensors"
STATE_FILE = "state.pt"
# What a run that goes on must have in common with the one that was stopped.
BINDING = ("base", "adapter", "data", "losses", "drop", "control", "seed", "precision", "timesteps")
FREE_DATA = ("cache", "ahead")  # settings of the data that change nothing but rounding


class TrainingStopped(FloatingPointError):
    """The numbers went wrong; the sentence says where the batch lies that did it."""


@dataclass(frozen=True)
class Progress:
    """What `progress` is told after every step."""

    step: int
    """Steps that are done."""
    steps: int
    losses: dict[str, float]
    seconds: float
    """Since this call began."""


@dataclass(frozen=True)
class TrainResult:
    """What a training leaves behind.

    Attributes:
        adapter_file: the finished HanDrawer.
        control_folder: the ControlNet in diffusers layout, or None.
        step: steps that are done; fewer than configured where `stop` said so.
        samples: that were seen, in all processes together.
        losses: of the last step.
        scores: of the last validation, empty if there was none.
        seconds: that this call took.
        skipped: pictures that could not be read.
    """

    adapter_file: Path
    control_folder: Path | None
    step: int
    samples: int
    losses: dict[str, float]
    scores: dict[str, float]
    seconds: float
    skipped: int


def train_adapter(
    config: TrainConfig | dict[str, Any],
    *,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
    base: Base | None = None,
) -> TrainResult:
    """Train as a configuration says, or go on where an earlier call with the same `out` was stopped.

    Args:
        config: see `config.TrainConfig` and docs/training.md; a dict as the JSON file holds it.
        progress: is told after every step.
        stop: asked after every step; true ends the run, which keeps what it has and can be gone on with.
        base: a model that is loaded already (`load_base`), instead of the configuration's.

    Raises:
        ValueError, FileNotFoundError: a sentence about the configuration, the base or the data.
        TrainingStopped: loss or gradients were not finite; the batch is saved.
        OSError: the finished file cannot be written.
    """
    made = make_config(config) if isinstance(config, dict) else config
    trainer = AdapterTrainer(made, base=base)
    try:
        return trainer.run(progress, stop)
    finally:
        trainer.close()


class AdapterTrainer:
    """One run: base, data, what learns, and where everything goes."""

    def __init__(self, config: TrainConfig, *, base: Base | None = None) -> None:
        self.config = config
        self.processes = Processes(config.device)
        self.device = self.processes.device
        self.out = Path(config.out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.records = Records(self.out, self.processes.first)
        self.base = base or load_base(config.base, config.precision, self.device)
        if config.checkpointing:
            checkpoint(self.base.unet)
        self.adapter = self._adapter().to(self.device).train()
        self.matrices = self.adapter.encoder.matrices()
        self.control = self._control()
        parts: dict[str, torch.nn.Module] = {"adapter": self.adapter}
        if self.control is not None:
            parts["control"] = self.control
        rates = {"adapter": config.optimiser.rate, "control": config.control.rate if config.control else 0.0}
        self.learner = Learner(
            parts, rates, config.optimiser, self.base.networks, config.precision == "fp16", self.processes
        )
        scale = config.control.scale if config.control else 1.0
        self.denoiser = DiffusersDenoiser(self.base, config.precision, self.control, scale)
        self.samples = config.batch * config.accumulate * self.processes.count
        self.empty = self.base.text([""])
        self.step = 0
        self.scores: dict[str, float] = {}
        self._open_data()
        self.ahead = Ahead(self.make_batches, self._together(), config.steps * config.accumulate, self.device)
        self.recorded: RecordedSteps | None = None
        if config.graph and self.device.type == "cuda":
            learning = [p for part in parts.values() for p in part.parameters()]
            self.recorded = RecordedSteps(self.backward, learning, quiet=self.ahead.paused)

    # --- what there is

    def _adapter(self) -> HanDrawer:
        config = self.config.adapter
        self.model = _hand_model(config.hand_model)
        if config.start:
            adapter = load(config.start)
            if adapter.metadata is not None:
                check_fits(adapter.metadata, self.base.description, Path(config.start).name)
            adapter.check_model(self.model)
            return adapter
        torch.manual_seed(self.config.seed)
        changes = {k: tuple(v) if isinstance(v, list) else v for k, v in config.changes.items()}
        try:
            return HanDrawer.create(
                self.base.description, self.model, negative_hand=config.negative_hand, **changes
            ).float()
        except TypeError as error:
            raise ValueError(
                f"'adapter.changes' names something that HanDrawerConfig does not have ({error})."
            ) from None

    def _control(self) -> Any:
        config = self.config.control
        if config is None:
            return None
        from diffusers import ControlNetModel

        torch.manual_seed(self.config.seed + 1)
        if config.start:
            control: Any = ControlNetModel.from_pretrained(config.start, local_files_only=True, low_cpu_mem_usage=False)
        else:
            control = ControlNetModel.from_unet(self.base.unet)
        if self.config.checkpointing:
            checkpoint(control)
        return control.float().to(self.device).train().requires_grad_(True)

    def _open_data(self) -> None:
        config = self.config
        cache = Cache(config.data.cache, str(self.processes.rank)) if config.data.cache else None
        self.maker = BatchMaker(
            self.base, self.model, self.adapter.config.raster, config.drop, config.seed, config.timesteps,
            self.control is not None, cache if config.data.kind != "synthetic" else None,
        )  # fmt: skip
        self.synthetic: Synthetic[Any] | None = None
        self.loader: Loader | None = None
        self.held_out: list[int] = []
        if config.data.kind == "synthetic":
            data = config.data
            self.synthetic = open_synthetic(data.seed, data.size, self.maker.model, data.synthetic)
            more = [name.replace("_", " ") for name, share in dataclasses.asdict(data.synthetic).items() if share]
            self.data_name = "synthetic hands" + ("" if data.synthetic.plain else f" ({', '.join(more)})")
            return
        if not self.processes.first:
            self.processes.wait()  # the first one estimates hands where there are none
        source = open_source(config.data, self.out, self.records.say)
        if self.processes.first:
            self.processes.wait()
        if config.validation.every:
            self.held_out = held_out(source, config.validation.count)
        buckets = bucket_sizes(config.data.size) if config.data.buckets else [(config.data.size, config.data.size)]
        plan = Plan(source.sizes, buckets, self.samples, config.seed, self.held_out)
        self.source, self.data_name = source, source.name
        self.loader = Loader(source, plan, self.model, self.maker.knows)
        shown = {f"{w} x {h}": len(places) for (w, h), places in plan.buckets.items()}
        self.records.say(f"{len(source.sizes)} pictures of {source.name}, by size: {shown}", buckets=shown)

    # --- the loop

    def run(
        self, progress: Callable[[Progress], None] | None = None, stop: Callable[[], bool] | None = None
    ) -> TrainResult:
        """Train to the end, or until `stop` says so."""
        config, started = self.config, time.monotonic()
        self._begin()
        losses: dict[str, float] = {}
        stopped = False
        while self.step < config.steps and not stopped:
            losses = self.train_step()
            done = self.step
            seconds = time.monotonic() - started
            if done % config.log_every == 0 or done in (1, config.steps):
                self._log(losses, seconds)
            if config.validation.every and (done % config.validation.every == 0 or done == config.steps):
                self.validate()
            if progress is not None:
                progress(Progress(done, config.steps, losses, seconds))
            stopped = stop is not None and self.processes.any(stop())
            if done % config.save_every == 0 or stopped or done == config.steps:
                self.save()
        self._publish_control()
        seconds = time.monotonic() - started
        self.records.say(f"{'stopped' if stopped else 'done'} at step {self.step} after {seconds:.0f} s")
        folder = self.out / "control" if self.control is not None else None
        skipped = 0 if self.loader is None else self.loader.skipped
        return TrainResult(
            self.out / ADAPTER_FILE, folder, self.step, self.step * self.samples, losses, self.scores, seconds, skipped
        )

    def _begin(self) -> None:
        if self.resume():
            self.records.say(f"goes on after step {self.step}")
        else:
            self._publish()  # so that a folder which cannot be written is noticed now, not in the end
        counts = {name: sum(p.numel() for p in part.parameters()) for name, part in self.learner.parts.items()}
        frozen = sum(p.numel() for network in self.base.networks for p in network.parameters())
        self.records.say(
            f"base {self.base.name} ({self.base.description.title}, {self.base.prediction}), {frozen:,} frozen "
            f"parameters; learning {', '.join(f'{name} {count:,}' for name, count in counts.items())}; "
            f"{self.samples} samples a step in {self.processes.count} process(es) on {self.device.type}",
            config=dataclasses.asdict(self.config), learning=counts, frozen=frozen,
        )  # fmt: skip

    def train_step(self) -> dict[str, float]:
        """One step of optimisation; gives the losses, means over all processes."""
        config, totals = self.config, []
        batches = []
        for turn in range(config.accumulate):
            batch = self.batch(turn)
            batches.append(batch)
            totals.append((self.recorded or self.backward)(batch, self.noised(batch)))
        names = list(totals[0])
        mean = torch.stack([torch.stack([t[name] for t in totals]).mean() for name in names])
        shared = self.processes.mean(mean.detach().clone())
        if not bool(torch.isfinite(shared).all()):
            finite = [all(bool(torch.isfinite(loss)) for loss in t.values()) for t in totals]
            own = [batch for batch, fine in zip(batches, finite, strict=True) if not fine]
            self._give_up("loss", own)
        norms = self.learner.update(self.step, self.step / config.steps)
        if not all(math.isfinite(norm) for norm in norms.values()) and config.precision != "fp16":
            self._give_up("gradient", batches)
        self.step += 1
        losses = dict(zip(names, shared.tolist(), strict=True))
        return {"loss": sum(losses.values()), **losses} | {f"norm_{name}": norm for name, norm in norms.items()}

    def backward(self, batch: Batch, noised: Noised) -> dict[str, Tensor]:
        """Forward and backward of a batch: its losses; the gradients are added to those that are there."""
        return self._step(batch, noised, lambda loss: self.learner.backward(loss / self.config.accumulate))

    def noised(self, batch: Batch) -> Noised:
        chances = batch.chances
        clean = self.base.latents(batch.moments, chances.spread)
        return Noised.make(clean, chances.noise, chances.time, self.base.a, self.base.s)

    def forward(self, batch: Batch, backward: Callable[[Tensor], None] | None = None) -> dict[str, Tensor]:
        """The losses of a batch by name; `backward` is called with their sum, see `steps.run_step`."""
        return self._step(batch, self.noised(batch), backward)

    def _step(self, batch: Batch, noised: Noised, backward: Callable[[Tensor], None] | None) -> dict[str, Tensor]:
        return run_step(
            self.denoiser, self.adapter, batch, noised, self.empty, self.config.losses,
            DTYPES[self.config.precision], backward, self.matrices,
        )  # fmt: skip

    def batch(self, turn: int = 0) -> Batch:
        """This process's samples of the step that comes next; `turn` of `accumulate`."""
        return self.ahead.take(self.step * self.config.accumulate + turn)

    def _together(self) -> int:
        if self.config.data.ahead is not None:
            return self.config.data.ahead
        return 0 if self.device.type == "cpu" else 4 if self.synthetic is not None else 1

    def make_batches(self, numbers: list[int]) -> list[Batch]:
        """This process's batches of some turns of the run, counted from its beginning."""
        turns = [divmod(number, self.config.accumulate) for number in numbers]
        if self.synthetic is None:
            return [self._read(step, turn) for step, turn in turns]
        positions = [position for step, turn in turns for position in self._positions(step, turn)]
        count = self.config.data.count
        drawn = positions if count is None else [position % count for position in positions]
        whole = described(self.adapter, self.maker.synthetic(self.synthetic, drawn, positions))
        return whole.parts(self.config.batch)

    def _read(self, step: int, turn: int) -> Batch:
        if self.loader is None:
            raise RuntimeError("There is no source of pictures.")
        later = step + (turn + 1) // self.config.accumulate
        following = [(later, self._part((turn + 1) % self.config.accumulate))]
        size, cropped = self.loader.take(step, self._part(turn), following)
        return described(self.adapter, self.maker.pictures(cropped, size, self._positions(step, turn)))

    def _positions(self, step: int, turn: int) -> list[int]:
        """How many samples of the run come before each one of a batch."""
        part = self._part(turn)
        return [step * self.samples + slot for slot in range(part.start, part.stop)]

    def _part(self, turn: int) -> slice:
        """Which of a step's samples this process takes in a turn; random numbers follow the samples."""
        start = (self.processes.rank * self.config.accumulate + turn) * self.config.batch
        return slice(start, start + self.config.batch)

    def _give_up(self, what: str, batches: list[Batch]) -> None:
        from safetensors import SafetensorError

        paths = []
        for number, batch in enumerate(batches):
            path = self.out / f"not_finite_step{self.step + 1}_{self.processes.rank}_{number}.safetensors"
            try:
                batch.save(path)
                paths.append(path)
            except (OSError, RuntimeError, SafetensorError) as error:
                log.warning("%s cannot be written (%s).", path, error)
        told = "the batch could not be saved" if batches else "another process has saved the batch"
        where = f"the batch is saved as {paths[0]}" if paths else told
        names = f" (pictures {', '.join(batches[0].names[:4])})" if batches else ""
        raise TrainingStopped(
            f"The {what} of step {self.step + 1} is not a finite number{names}: {where}. Lower the learning rate, "
            "choose bf16 or fp32, or mend the data, and go on from the last state."
        )

    def _log(self, losses: dict[str, float], seconds: float) -> None:
        rate = self.learner.rate("adapter", self.step - 1, (self.step - 1) / self.config.steps)
        skipped = 0 if self.loader is None else self.loader.skipped
        more = {"rate": rate, "samples": float(self.step * self.samples), "seconds": seconds, "skipped": float(skipped)}
        self.records.numbers(self.step, {**losses, **more})

    # --- validation

    def validate(self) -> dict[str, float]:
        """Pictures and scores of held-out hands, drawn with the averaged weights by the first process."""
        if self.processes.first:
            from .validation import Validation

            if not hasattr(self, "_validation"):
                self._validation = Validation.prepare(self)
            with self.ahead.paused():
                self.scores = self._validation.run(self)
            self.records.numbers(self.step, self.scores, "validation")
        self.processes.wait()
        return self.scores

    # --- files

    def binding(self) -> dict[str, Any]:
        """What must stay the same when a run goes on."""
        values = dataclasses.asdict(self.config)
        fixed: dict[str, Any] = {key: values[key] for key in BINDING} | {"samples a step": self.samples}
        fixed["data"] = {k: v for k, v in fixed["data"].items() if k not in FREE_DATA}
        if self.config.data.synthetic.plain:
            del fixed["data"]["synthetic"]  # so that runs of releases that did not know it go on
        return fixed

    def save(self) -> None:
        """The state to go on from, and the adapter as it is now; a full disk is told and does not end the run."""
        if self.maker.cache is not None:
            with self.ahead.paused():
                self.maker.cache.flush()
        if self.processes.first:
            state = self.learner.state() | {"step": self.step, "binding": self.binding(), "scores": self.scores}
            last = self.step >= self.config.steps
            try:
                save_state(self.out / STATE_FILE, state)
            except (OSError, RuntimeError) as error:  # torch wraps what the system says
                (self.out / STATE_FILE).with_suffix(".part").unlink(missing_ok=True)
                log.warning("The state after step %d cannot be written (%s): make room; it goes on.", self.step, error)
            try:
                self._publish()
            except OSError:
                if last:
                    raise
                log.warning("The adapter after step %d cannot be written: make room; training goes on.", self.step)
        self.processes.wait()

    def resume(self) -> bool:
        """Go on from the state in `out`; False where there is none. ValueError if it is another training's."""
        try:
            state = load_state(self.out / STATE_FILE, self.device)
        except (RuntimeError, EOFError, ValueError, OSError, LookupError, UnpicklingError) as error:
            raise ValueError(f"{self.out / STATE_FILE} is damaged ({error}): delete it and begin again.") from error
        if state is None:
            return False
        own, found = _plain(self.binding()), _plain(state["binding"])
        if differs := sorted(key for key in own if own[key] != found.get(key)):
            raise ValueError(
                f"{self.out} holds a training with another '{differs[0]}' ({found.get(differs[0])}, now "
                f"{own[differs[0]]}): choose another 'out', or put it back as it was."
            )
        self.learner.load(state)
        self.step, self.scores = state["step"], state["scores"]
        return True

    def _publish(self) -> None:
        """Write the finished adapter as it is now, with its card."""
        if not self.processes.first:
            return
        kept = {name: tensor.detach().clone() for name, tensor in self.adapter.state_dict().items()}
        self.adapter.load_state_dict(self.learner.finished("adapter"))
        try:
            save(self.out / ADAPTER_FILE, self.adapter, training=self.card(), overwrite=True)
        finally:
            self.adapter.load_state_dict(kept)

    def _publish_control(self) -> None:
        if self.control is None or not self.processes.first:
            return
        kept = {name: tensor.detach().clone() for name, tensor in self.control.state_dict().items()}
        self.control.load_state_dict(self.learner.finished("control"))
        try:
            self.control.save_pretrained(self.out / "control")
        finally:
            self.control.load_state_dict(kept)

    def card(self) -> dict[str, Any]:
        """The summary that the finished file carries."""
        config = self.config
        return {
            "base": Path(config.base.path).name,
            "prediction": self.base.prediction,
            "data": self.data_name,
            "pictures": len(self.source.sizes) if self.loader is not None else config.data.count or "endless",
            "size": config.data.size,
            "steps": self.step,
            "samples": self.step * self.samples,
            "losses": dataclasses.asdict(config.losses),
            "drop": dataclasses.asdict(config.drop),
            "rate": config.optimiser.rate,
            "ema": config.optimiser.ema,
            "seed": config.seed,
            "precision": config.precision,
            "with depth ControlNet": self.control is not None,
            **({"scores": self.scores} if self.scores else {}),
        }

    def close(self) -> None:
        """End threads, log and process group."""
        self.ahead.close()
        if self.loader is not None:
            self.loader.close()
        if self.config.checkpointing:
            self.base.unet.disable_gradient_checkpointing()
        self.records.close()
        self.processes.close()


def _hand_model(name: str) -> HandModel:
    model = known_model(name)
    if model is None:
        raise ValueError(f"'adapter.hand_model' is '{name}', which is not loaded: use \"open\", or load_mano first.")
    return model


def _plain(values: Any) -> Any:
    """As JSON keeps it: tuples are lists."""
    if isinstance(values, dict):
        return {str(key): _plain(value) for key, value in values.items()}
    return [_plain(value) for value in values] if isinstance(values, (list, tuple)) else values
