"""The links of a page, as far as it lets them be followed."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urljoin

_LINKS = 5000  # of one page
_CHARACTERS = 2000
_SCHEME = re.compile(r"https?://", re.IGNORECASE)
#: Endings of addresses that are no pages.
_FILES = re.compile(
    r"\.(?:jpe?g|png|gif|webp|avif|svg|ico|bmp|tiff?|css|js|mjs|map|json|xml|rss|atom|woff2?|ttf|eot|otf|mp[34]|m4[av]|og[gv]"
    r"|wav|flac|webm|avi|mov|mkv|zip|gz|bz2|xz|7z|rar|tar|tgz|zst|exe|msi|dmg|iso|apk|deb|rpm|jar|whl|bin|pdf|epub|mobi|docx?"
    r"|xlsx?|pptx?|odt|ods|odp|csv|tsv|parquet|sqlite|ics|vcf)(?:[?#]|$)",
    re.IGNORECASE,
)
_FEEDS = ("application/rss+xml", "application/atom+xml", "application/feed+json")


def links_of(root: Any, url: str) -> dict[str, Any]:
    """``{"links", "feeds", "follow", "index"}`` of a page found at ``url``: absolute addresses without fragments.

    Links of rel=nofollow are left out, and all of them where the page's robots say nofollow or none.
    """
    said = [(m.get("content") or "").lower() for m in root.iter("meta") if (m.get("name") or "").lower() == "robots"]
    words = {word.strip() for content in said for word in content.split(",")}
    follow = not words & {"nofollow", "none"}
    base = next((found for element in root.iter("base") if (found := element.get("href"))), "")
    start = _joined(url, base) or url
    feeds = [
        address
        for link in root.iter("link")
        if "alternate" in (link.get("rel") or "").lower() and (link.get("type") or "").lower() in _FEEDS
        if (address := _joined(start, link.get("href") or ""))
    ]
    links: dict[str, None] = {}
    if follow:
        for link in root.iter("a", "area"):
            if "nofollow" in (link.get("rel") or "").lower().split():
                continue
            address = _joined(start, link.get("href") or "")
            if address and not _FILES.search(address.partition("?")[0]):
                links[address] = None
            if len(links) >= _LINKS:
                break
    index = not words & {"noindex", "none"}
    return {"links": list(links), "feeds": feeds[:20], "follow": follow, "index": index}


def _joined(base: str, href: str) -> str | None:
    href = href.strip()
    if not href or len(href) > _CHARACTERS or href.startswith(("#", "javascript:", "mailto:", "tel:", "data:")):
        return None
    try:
        address = urljoin(base, href).partition("#")[0]
    except ValueError:
        return None
    return address if _SCHEME.match(address) and len(address) <= _CHARACTERS else None
