"""Addresses on the host that only read: how often the expensive steps have run, and what the hand poser draws with."""

import contextlib
import functools
import json

from ..handrawer.counters import counters

COUNTERS = "/handrawer/counters"
POSER_MODEL = "/handrawer/poser/model"
POSER_GESTURES = "/handrawer/poser/gestures"
POSES = "/handrawer/poses"


def register() -> None:
    """Serve them as JSON. The host calls this when it loads the pack; without a server nothing happens."""
    from aiohttp import web
    from server import PromptServer

    server = getattr(PromptServer, "instance", None)
    if server is None or any(getattr(route, "path", None) == COUNTERS for route in server.routes):
        return

    @server.routes.get(COUNTERS)
    async def get_counters(_request):
        return web.json_response(counters.as_dict())

    @server.routes.get(POSER_MODEL)
    async def get_poser_model(_request):
        return web.Response(body=poser_model(), content_type="application/json")

    @server.routes.get(POSER_GESTURES)
    async def get_poser_gestures(_request):
        return web.json_response(poser_gestures())

    @server.routes.get(POSES)
    async def get_poses(_request):
        from .library import listed

        return web.json_response(listed())


@functools.lru_cache(maxsize=1)
def poser_model() -> bytes:
    """The open hand as the poser's page needs it, JSON; made once."""
    from ..handrawer.hand.poser import browser_model

    return json.dumps(browser_model()).encode()


def poser_gestures() -> list[dict]:
    """What the poser offers: the library's poses, and one's own that can be read (``listed`` tells of the rest)."""
    from ..handrawer.hand.library import library, parse_pose
    from ..handrawer.hand.poser import browser_poses
    from .library import own_poses

    own = []
    for path in own_poses().values():
        with contextlib.suppress(OSError, ValueError):
            own.append(parse_pose(path.read_text(encoding="utf-8-sig")))
    return browser_poses([*library().values(), *own])
