"""Addresses on the host: how often the expensive steps have run, what the hand poser draws with, and the pose library.

Only one of them writes: a new pose into the user's folder.
"""

import asyncio
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

        return web.json_response(await asyncio.to_thread(listed))

    @server.routes.get(POSES + "/{name}")
    async def get_pose(request):
        from .pose_files import export_pose

        with answering(web, 404):
            file, text = await asyncio.to_thread(export_pose, request.match_info["name"])
            headers = {"Content-Disposition": f'attachment; filename="{file}"'}
            return web.Response(text=text, content_type="application/json", headers=headers)

    @server.routes.get(POSES + "/{name}/picture")
    async def get_pose_picture(request):
        from .pose_files import pose_picture

        with answering(web, 404):
            picture = await asyncio.to_thread(pose_picture, request.match_info["name"])
            return web.Response(body=picture, content_type="image/png", headers={"Cache-Control": "no-cache"})

    @server.routes.post(POSES)
    async def post_pose(request):
        from .pose_files import LARGEST, keep_pose

        with answering(web, 400):
            # As JSON alone: another site's page cannot send that without asking the host first.
            if request.content_type != "application/json":
                raise ValueError("A pose is kept from JSON.")
            body = await request.content.read(LARGEST + 1)
            if len(body) > LARGEST:
                raise ValueError(f"This is no pose: it has more than {LARGEST // 1024} KiB.")
            asked = json.loads(body)
            return web.json_response({"name": await asyncio.to_thread(keep_pose, asked)})


@contextlib.contextmanager
def answering(web, status: int):
    """A ValueError becomes an answer of that status whose text is its sentence."""
    try:
        yield
    except ValueError as error:
        kind = web.HTTPNotFound if status == 404 else web.HTTPBadRequest
        raise kind(text=str(error)) from error


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
