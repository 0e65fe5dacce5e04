"""Sentences for the person at the canvas."""

import logging
import sys

logger = logging.getLogger("handrawer")


def tell(node_id: str, sentence: str) -> None:
    """Say something that is no error: in the log, and on the node where the host's page shows such texts."""
    logger.warning("HanDrawer: %s", sentence)
    server = sys.modules.get("server")  # absent in scripts and tests, which run no server
    instance = getattr(getattr(server, "PromptServer", None), "instance", None)
    if instance is not None and hasattr(instance, "send_progress_text"):
        instance.send_progress_text(sentence, node_id)
