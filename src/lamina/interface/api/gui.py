"""The web page, as the package's build left it in ``interface/static``; without it, a plain page that says so."""

from __future__ import annotations

import mimetypes
import re
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from lamina.interface.api.routes import Routes

STATIC = Path(__file__).resolve().parent.parent / "static"
_HASHED = re.compile(r"[.-][0-9A-Za-z]{8,}\.[a-z0-9]+$")
_TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_MISSING = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Lamina</title></head>
<body><h1>The API is running</h1>
<p>The web page is not built in this checkout. Build it with <code>make web</code> and reload,
or install the package from a wheel, which has it.</p>
<p>The API itself is at <code>/v1/</code>, its description at <code>/openapi.json</code>.</p>
</body></html>
"""


class GuiRoutes:
    """Static files. They are public: they hold nothing but the page, which asks for a key where one is needed."""

    def __init__(self, folder: Path = STATIC) -> None:
        self._folder = folder.resolve()

    def add_to(self, routes: Routes) -> None:
        """Serve them; to be called last, because the pattern takes whatever is left."""
        routes.add("GET", "/", self.index, scope="public")
        routes.add("GET", "/{path:path}", self.file, scope="public")

    async def index(self, request: Request) -> Response:
        """The page."""
        page = self._folder / "index.html"
        if not page.is_file():
            return Response(_MISSING, media_type="text/html")
        return FileResponse(page, media_type="text/html", headers={"cache-control": "no-cache"})

    async def file(self, request: Request, path: str) -> Response:
        """One of its files; nothing outside the folder, nothing hidden."""
        target = self._find(path)
        if target is None:
            raise HTTPException(404, "there is nothing here")
        cache = "public, max-age=31536000, immutable" if _HASHED.search(target.name) else "no-cache"
        kind = _TYPES.get(target.suffix) or mimetypes.guess_type(target.name)[0] or "application/octet-stream"
        return FileResponse(target, media_type=kind, headers={"cache-control": cache})

    def _find(self, path: str) -> Path | None:
        if any(part.startswith(".") for part in Path(path).parts):
            return None
        try:
            target = (self._folder / path).resolve()
            return target if target.is_relative_to(self._folder) and target.is_file() else None
        except (OSError, ValueError):  # too long a name, a NUL
            return None
