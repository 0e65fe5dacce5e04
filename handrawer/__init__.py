"""HanDrawer: a hand mesh steers a diffusion model while the picture is made.

The library is pure PyTorch and never imports ComfyUI. Its parts, in the order in which they may know each other:
`hand` (what a hand is), `estimate` (picture to hands), `render` (hands to pictures), `adapter` (HanDrawer itself),
`mini` (the embedded small diffusion model), `train`, `evaluate`, and `cli` (the command line).
"""

__version__ = "0.4.2"
