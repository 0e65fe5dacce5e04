"""A HanDrawer file: one safetensors file with everything needed to rebuild the adapter in its metadata.

Nothing is ever unpickled. The mathematics of a format version never changes; an improvement is a new version, so that
saved workflows keep their pictures.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .config import FORMAT_VERSION, AdapterMetadata, HanDrawerConfig
from .handrawer import HanDrawer
from .storage import CastingLayers, store_as
from .unet import INSTEAD, SUPPORTED, UNetDescription

FORMAT = "handrawer"


@dataclass(frozen=True)
class Stored:
    """A tensor as it lies in a file. dtype is safetensors' name of it, such as "F16"."""

    dtype: str
    shape: tuple[int, ...]


class CheckpointError(ValueError):
    """A file cannot be used as a HanDrawer; the message says why in a sentence."""


def save(
    path: str | os.PathLike[str],
    adapter: HanDrawer,
    *,
    training: dict[str, Any] | None = None,
    dtype: torch.dtype = torch.float16,
    overwrite: bool = False,
) -> AdapterMetadata:
    """Write an adapter to a `.safetensors` file; parameters in `dtype`, the mesh's buffers as they are.

    training is a free summary for readers (samples seen, steps, data): JSON values. The file appears whole or not
    at all. Raises FileExistsError if it exists and `overwrite` is not set, ValueError if weights are not finite in
    `dtype`.
    """
    from safetensors.torch import save as to_bytes

    target = Path(path)
    if target.exists() and not overwrite:
        raise FileExistsError(f"{target} exists already: choose another name, or pass overwrite=True to replace it.")
    metadata = AdapterMetadata(adapter.config, dict(training or {}))
    data = to_bytes(_tensors(adapter, dtype), _strings(metadata))
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes files that nobody else may read
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return metadata


def _strings(metadata: AdapterMetadata) -> dict[str, str]:
    """The file's metadata: all that `load` needs, and a few entries again for readers of the header."""
    config = metadata.config
    return {
        "format": FORMAT,
        "format_version": str(metadata.format_version),
        "base": config.unet.name,
        "hand_model": config.hand_model,
        "topology": config.topology,
        "negative_hand": config.negative_hand,
        "config": config.to_json(),
        "training": json.dumps(metadata.training),
    }


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _tensors(adapter: HanDrawer, dtype: torch.dtype) -> dict[str, Tensor]:
    parameters = {name for name, _ in adapter.named_parameters()}
    found = {}
    for name, tensor in adapter.state_dict().items():
        tensor = tensor.detach().cpu()
        if name in parameters:
            given, tensor = tensor, tensor.to(dtype)
            # Before, since 8-bit types make a large number of infinity, and after; torch cannot ask all of them itself.
            if not all(bool(torch.isfinite(t.float()).all()) for t in (given, tensor)):
                raise ValueError(f"The weights {name!r} are not finite as {dtype}: the adapter cannot be saved so.")
        found[name] = tensor.contiguous()
    return found


def read_metadata(path: str | os.PathLike[str]) -> AdapterMetadata:
    """What a HanDrawer file says of itself, without reading its weights. Raises CheckpointError."""
    return read_header(path)[0]


def read_header(path: str | os.PathLike[str]) -> tuple[AdapterMetadata, dict[str, Stored]]:
    """What a file says of itself and of its tensors, without reading them. Raises CheckpointError."""
    path = Path(path)
    strings, _, stored = _read(path, tensors=False)
    return _parse(path, strings), stored


def load(path: str | os.PathLike[str], *, operations: Any = None, dtype: torch.dtype = torch.float32) -> HanDrawer:
    """Read a HanDrawer file: the adapter on the CPU, ready for use (`eval`), its `metadata` set.

    operations as for HanDrawer, default torch.nn. dtype is the type that its matrices are kept in (see storage.py):
    with another than float32 they are cast where they are used and computing stays in float32, or follows autocast.
    Raises CheckpointError if the file is missing, damaged, not a HanDrawer file, of a newer format, or its tensors do
    not match its own configuration or are not finite.
    """
    path = Path(path)
    strings, tensors, _ = _read(path, tensors=True)
    metadata = _parse(path, strings)
    _check_tensors(path, _shapes(path, metadata.config), tensors)
    casting = dtype != torch.float32
    adapter = HanDrawer(metadata.config, operations or (CastingLayers if casting else nn))
    adapter.load_state_dict(tensors)
    adapter.metadata = metadata
    return (store_as(adapter, dtype) if casting else adapter).eval()


def _read(path: Path, tensors: bool) -> tuple[dict[str, str], dict[str, Tensor], dict[str, Stored]]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise CheckpointError(f"There is no HanDrawer file {path}: check the name and the folder.")
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = dict(file.metadata() or {})
            ours = metadata.get("format") == FORMAT
            names = list(file.keys()) if ours else []
            slices = {name: file.get_slice(name) for name in names}
            stored = {name: Stored(str(s.get_dtype()), tuple(s.get_shape())) for name, s in slices.items()}
            found = {name: file.get_tensor(name) for name in names if tensors}
    except (SafetensorError, OSError, ValueError) as error:
        if _is_pickle(path):
            raise CheckpointError(
                f"{path.name} is a pickle (.pt, .ckpt or .bin, whatever its name), which HanDrawer never opens because "
                "it can run programs: choose a .safetensors file."
            ) from error
        raise CheckpointError(
            f"{path.name} is damaged, incomplete or no safetensors file: copy or download it again. ({error})"
        ) from error
    return metadata, found, stored


def _is_pickle(path: Path) -> bool:
    """Whether a file begins like torch's archives (a zip) or like a bare pickle; nothing of it is read."""
    with open(path, "rb") as file:
        return file.read(4).startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"))


def _parse(path: Path, strings: dict[str, str]) -> AdapterMetadata:
    if strings.get("format") != FORMAT:
        raise CheckpointError(f"{path.name} is no HanDrawer file: choose a file that HanDrawer's training has written.")
    version = strings.get("format_version", "")
    if not version.isdigit() or int(version) < 1:
        raise CheckpointError(f"{path.name} names the format version {version!r}, which does not exist: it is damaged.")
    if int(version) > FORMAT_VERSION:
        raise CheckpointError(
            f"{path.name} has format version {version}, this HanDrawer reads up to {FORMAT_VERSION}: update HanDrawer."
        )
    try:
        config = HanDrawerConfig.from_json(strings["config"])
        training = dict(json.loads(strings.get("training", "{}")))
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise CheckpointError(
            f"The configuration inside {path.name} cannot be read: the file is damaged. ({error!r})"
        ) from error
    return AdapterMetadata(config, training, int(version))


def _shapes(path: Path, config: HanDrawerConfig) -> dict[str, Tensor]:
    """The tensors that a configuration asks for, without their memory: it comes from a file and may say anything."""
    try:
        with torch.device("meta"):
            return HanDrawer(config).state_dict()
    except (RuntimeError, TypeError, ValueError, ArithmeticError, LookupError) as error:
        raise CheckpointError(
            f"The configuration inside {path.name} makes no network: the file is damaged or was edited. ({error!r})"
        ) from error


def _check_tensors(path: Path, wanted: dict[str, Tensor], tensors: dict[str, Tensor]) -> None:
    missing, surplus = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    if missing or surplus:
        what = f"lacks {missing[0]!r}" if missing else f"has {surplus[0]!r} too many"
        count = len(missing) + len(surplus)
        raise CheckpointError(
            f"{path.name} does not match its own configuration: it {what} ({count} of {len(wanted)} tensors differ). "
            "The file is damaged or was edited."
        )
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape:
            raise CheckpointError(
                f"{path.name} does not match its own configuration: {name!r} is {list(tensor.shape)}, expected "
                f"{list(wanted[name].shape)}. The file is damaged or was edited."
            )
        if tensor.is_floating_point() != wanted[name].is_floating_point():
            raise CheckpointError(f"{path.name} holds {name!r} as {tensor.dtype}: the file is damaged or was edited.")
        # Through float32, for the 8-bit types know no isfinite.
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor.float()).all()):
            raise CheckpointError(
                f"The weights {name!r} in {path.name} are not finite (NaN or infinite), which would make every picture "
                "black: its training failed or the file is damaged, choose another."
            )


def check_fits(metadata: AdapterMetadata, unet: UNetDescription, file: str = "This HanDrawer file") -> None:
    """Raise CheckpointError, with a sentence that names both, unless the adapter was made for such a UNet."""
    own = metadata.config.unet
    why = own.misfit(unet)
    if why and unet.known:
        raise CheckpointError(
            f"{file} was made for {own.title}, but the model is {unet.title}: it {why}. Choose a HanDrawer file made "
            "for this model, or another model."
        )
    if why:
        raise CheckpointError(
            f"{file} was made for {own.title}, but the model is {unet.title}: it {why}. HanDrawer steers {SUPPORTED}; "
            f"choose one of those, or {INSTEAD}."
        )
