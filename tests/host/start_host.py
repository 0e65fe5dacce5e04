"""Starts a ComfyUI checkout: `python start_host.py CHECKOUT [arguments of its main.py]`.

Imports nothing of the tests: the host's Python need not have what they need. With HANDRAWER_PROCESSOR_TIME=1 the
seconds that it logs are the processor's for this process alone, whatever else the machine does.
"""

import importlib.util
import os
import runpy
import sys
import time
from pathlib import Path

_kept = []


def declare_torchvision_operators() -> None:
    """Let torchvision be imported beside a torch that it was not built for (a CPU build of torch, say).

    Its Python part asks for two compiled operators while it is imported; nothing in these tests calls them.
    """
    import torch

    if importlib.util.find_spec("torchvision") is None or hasattr(torch.ops.torchvision, "nms"):
        return
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _kept.append(library)  # the declarations live as long as this object


if __name__ == "__main__":
    if os.environ.get("HANDRAWER_PROCESSOR_TIME"):
        time.perf_counter = time.process_time
    checkout = Path(sys.argv[1]).resolve()
    declare_torchvision_operators()
    sys.argv = [str(checkout / "main.py"), *sys.argv[2:]]
    sys.path[0] = str(checkout)  # as if main.py had been started
    os.chdir(checkout)
    runpy.run_path(sys.argv[0], run_name="__main__")
