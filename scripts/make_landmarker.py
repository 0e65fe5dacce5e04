"""Make `handrawer/estimate/hand_landmarker.task` again, byte for byte, from mediapipe's own wheel.

The landmark networks that ship with HanDrawer are MediaPipe's palm detector and hand landmark network (Apache-2.0).
Newer wheels no longer carry them, so the script takes the last one that does:

    pip download mediapipe==0.10.21 --no-deps --only-binary :all: --python-version 3.11
    python scripts/make_landmarker.py mediapipe-0.10.21-*.whl

Any platform's wheel of that version will do: the checksums of both networks are verified before anything is written.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import struct
import sys
import zipfile
from pathlib import Path

# (name in the wheel, name the Tasks API expects in the bundle, SHA-256 of the bytes)
NETWORKS = (
    (
        "mediapipe/modules/palm_detection/palm_detection_full.tflite",
        "hand_detector.tflite",
        "1b14e9422c6ad006cde6581a46c8b90dd573c07ab7f3934b5589e7cea3f89a54",
    ),
    (
        "mediapipe/modules/hand_landmark/hand_landmark_full.tflite",
        "hand_landmarks_detector.tflite",
        "11c272b891e1a99ab034208e23937a8008388cf11ed2a9d776ed3d01d0ba00e3",
    ),
)
ALIGNMENT = 16  # bytes; the networks are used where they lie in the bundle
LOCAL_HEADER = 30  # bytes of a zip entry's header before its name
DEFAULT_OUTPUT = Path(__file__).resolve().parent.parent / "handrawer" / "estimate" / "hand_landmarker.task"


def _alignment(position: int) -> bytes:
    """A zip extra field as long as needed for what follows it at `position` to start on a multiple of ALIGNMENT.

    0xD935 is the id that zipalign registered for padding; the field's own header takes four bytes.
    """
    padding = -(position + 4) % ALIGNMENT
    return struct.pack("<HH", 0xD935, padding) + bytes(padding)


def bundle(wheel: Path) -> bytes:
    """The bytes of the `.task` bundle made from the mediapipe wheel at `wheel`.

    The files are stored uncompressed, because the Tasks API maps them into memory as they lie. Date, system and
    permissions are fixed, so that the same wheel gives the same bytes everywhere.

    Raises ValueError when the wheel lacks a network or holds another version of it.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as target:
        for wheel_name, task_name, expected in NETWORKS:
            try:
                data = source.read(wheel_name)
            except KeyError:
                raise ValueError(f"{wheel} has no {wheel_name}: give the wheel of mediapipe 0.10.21.") from None
            found = hashlib.sha256(data).hexdigest()
            if found != expected:
                raise ValueError(
                    f"{wheel_name} in {wheel} has SHA-256 {found}, expected {expected}: "
                    "give the wheel of mediapipe 0.10.21."
                )
            entry = zipfile.ZipInfo(task_name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3  # Unix, whatever system runs this
            entry.external_attr = 0o644 << 16
            entry.extra = _alignment(buffer.tell() + LOCAL_HEADER + len(task_name))
            target.writestr(entry, data)
    return buffer.getvalue()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("wheel", type=Path, help="mediapipe 0.10.21 wheel, of any platform")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUTPUT, help="where to write (default: %(default)s)")
    parser.add_argument("--check", action="store_true", help="only compare with the file that is there")
    options = parser.parse_args(arguments)
    try:
        data = bundle(options.wheel)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    digest = hashlib.sha256(data).hexdigest()
    if options.check:
        same = options.out.is_file() and options.out.read_bytes() == data
        print(f"{options.out}: {'identical' if same else 'DIFFERENT'}, SHA-256 of the bundle {digest}")
        return 0 if same else 1
    options.out.write_bytes(data)
    print(f"wrote {options.out} ({len(data):,} bytes, SHA-256 {digest})")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
