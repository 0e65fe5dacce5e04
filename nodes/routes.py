"""One read-only address on the host: how often the expensive steps have run."""

from aiohttp import web
from server import PromptServer

from ..handrawer.counters import counters

ADDRESS = "/handrawer/counters"


def register() -> None:
    """Serve the counters as JSON; called by the host's loader, where the server exists, and harmless without one."""
    server = getattr(PromptServer, "instance", None)
    if server is None:
        return
    if any(getattr(route, "path", None) == ADDRESS for route in server.routes):
        return

    @server.routes.get(ADDRESS)
    async def get_counters(_request):
        return web.json_response(counters.as_dict())
