"""Static files under the name of their build, so that a browser keeps them for ever and never mixes two builds."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from whago.web.pages.assets import STATIC, build

FOR_EVER: Final = "public, max-age=31536000, immutable"
ASK_AGAIN: Final = "no-cache"


class StaticBuild(StaticFiles):
    """Serves the files of this build, also to a page of the build before, which then may not keep them."""

    def __init__(self) -> None:
        super().__init__(directory=STATIC)

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        is_this_build = scope["path_params"].get("build") == build()
        response.headers["Cache-Control"] = FOR_EVER if is_this_build else ASK_AGAIN
        return response
