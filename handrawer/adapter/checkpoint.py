"""A HanDrawer file: one safetensors file with everything needed to rebuild the adapter in its metadata.

Nothing is ever unpickled. The mathematics of a format version never changes; an improvement is a new version, so that
saved workflows keep their pictures.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .config import FORMAT_VERSION, AdapterMetadata, HanDrawerConfig
from .handrawer import HanDrawer
from .unet import UNetDescription

FORMAT = "handrawer"


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
            tensor = tensor.to(dtype)
            if not bool(torch.isfinite(tensor).all()):
                raise ValueError(f"The weights {name!r} are not finite as {dtype}: the adapter cannot be saved so.")
        found[name] = tensor.contiguous()
    return found


def read_metadata(path: str | os.PathLike[str]) -> AdapterMetadata:
    """What a HanDrawer file says of itself, without reading its weights. Raises CheckpointError."""
    strings, _ = _read(Path(path), tensors=False)
    return _parse(Path(path), strings)


def load(path: str | os.PathLike[str], *, operations: Any = nn) -> HanDrawer:
    """Read a HanDrawer file: the adapter on the CPU in float32, ready for use (`eval`), its `metadata` set.

    operations as for HanDrawer. Raises CheckpointError if the file is missing, damaged, not a HanDrawer file, of a
    newer format, or its tensors do not match its own configuration.
    """
    path = Path(path)
    strings, tensors = _read(path, tensors=True)
    metadata = _parse(path, strings)
    adapter = HanDrawer(metadata.config, operations)
    _check_tensors(path, adapter, tensors)
    adapter.load_state_dict(tensors)
    adapter.metadata = metadata
    return adapter.eval()


def _read(path: Path, tensors: bool) -> tuple[dict[str, str], dict[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise CheckpointError(f"There is no HanDrawer file {path}: check the name and the folder.")
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = dict(file.metadata() or {})
            ours = metadata.get("format") == FORMAT
            names = list(file.keys()) if tensors and ours else []
            found = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path.name} is damaged, incomplete or no safetensors file: copy or download it again. ({error})"
        ) from error
    return metadata, found


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
        training = json.loads(strings.get("training", "{}"))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"The configuration inside {path.name} cannot be read: the file is damaged. ({error!r})"
        ) from error
    return AdapterMetadata(config, training, int(version))


def _check_tensors(path: Path, adapter: HanDrawer, tensors: dict[str, Tensor]) -> None:
    wanted = adapter.state_dict()
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


def check_fits(metadata: AdapterMetadata, unet: UNetDescription, file: str = "This HanDrawer file") -> None:
    """Raise CheckpointError, with a sentence that names both, unless the adapter was made for such a UNet."""
    why = metadata.config.unet.misfit(unet)
    if why:
        raise CheckpointError(
            f"{file} was made for {_named(metadata.config.unet)}, but the model is {_named(unet)}: it {why}. Choose a "
            "HanDrawer file made for this model, or another model."
        )


def _named(unet: UNetDescription) -> str:
    names = {"mini": "the small model", "sd15": "Stable Diffusion 1.x", "sd21": "Stable Diffusion 2.x", "sdxl": "SDXL"}
    return names.get(unet.name, f"a UNet of {len(unet.blocks)} encoder blocks with text of width {unet.context_width}")
