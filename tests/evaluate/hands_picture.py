"""The example picture that ships."""

from pathlib import Path

EXAMPLE = Path(__file__).resolve().parents[2] / "handrawer" / "examples" / "hands.png"
