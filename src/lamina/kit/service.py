"""Asking a model that is served: JSON there, JSON back. Texts go where the configuration says, or nowhere.

    service = Service("http://127.0.0.1:8000/v1", key="LAMINA_TRANSLATOR_KEY")
    answer = service.post("/chat/completions", {"messages": …})

For addresses that a person wrote into the stack file; for addresses that come from documents see ``kit.fetch``.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from lamina.kit.errors import FetchError, RefusedError

_SHOWN = 200  # characters of what a service says when it refuses


class Service:
    """A service at ``address``; paths are appended to it.

    ``remote``: it may be on another machine. ``key``: the environment variable that holds the API key, if one is
    wanted. No proxy is used and no redirect followed. Raises ``RefusedError`` for another machine without ``remote``.
    """

    def __init__(self, address: str, *, remote: bool = False, key: str = "", timeout_s: float = 120.0) -> None:
        import httpx

        if not remote and not is_loopback(urlsplit(address).hostname or ""):
            raise RefusedError(
                "texts would be sent to another machine", where=address, hint="allow it with remote = true"
            )
        self.address = address.rstrip("/")
        secret = os.environ.get(key) if key else None
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        self._client = httpx.Client(timeout=timeout_s, headers=headers, trust_env=False, follow_redirects=False)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The JSON value that is answered. Raises ``FetchError`` for anything but 2xx with JSON."""
        import httpx

        url = self.address + path
        try:
            response = self._client.post(url, json=dict(body))
        except httpx.HTTPError as error:
            raise FetchError(f"the service did not answer: {error or type(error).__name__}", where=url) from error
        if not response.is_success:
            said = " ".join(response.text.split())[:_SHOWN]
            raise FetchError(f"the service answered {response.status_code}: {said}", where=url)
        try:
            return response.json()
        except ValueError as error:
            raise FetchError("the service did not answer with JSON", where=url) from error


def is_loopback(host: str) -> bool:
    """Whether ``host`` is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
