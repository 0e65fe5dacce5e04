"""One read-only address on the host: how often the expensive steps have run."""

from ..handrawer.counters import counters

ADDRESS = "/handrawer/counters"


def register() -> None:
    """Serve the counters as JSON. The host calls this when it loads the pack; without a server nothing happens."""
    from aiohttp import web
    from server import PromptServer

    server = getattr(PromptServer, "instance", None)
    if server is None or any(getattr(route, "path", None) == ADDRESS for route in server.routes):
        return

    @server.routes.get(ADDRESS)
    async def get_counters(_request):
        return web.json_response(counters.as_dict())
