"""HanDrawer, as ComfyUI loads it.

Nothing of the host and nothing heavy is imported here: this file is also imported by tools that know no ComfyUI
(test runners, packagers). The nodes are imported when the host asks for them.
"""

import logging

WEB_DIRECTORY = "./web"

__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]


async def comfy_entrypoint():
    """Give the host this pack's extension.

    Returns:
        An instance of the host's ``ComfyExtension``.
    """
    try:
        from .nodes import HanDrawerExtension
    except Exception:
        # The host logs what is raised here without its traceback, which leaves nobody anything to mend.
        logging.getLogger("handrawer").exception("HanDrawer could not be loaded")
        raise
    return HanDrawerExtension()
