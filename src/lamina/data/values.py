"""Times, languages, addresses and licences as the world writes them, in one form: UTC, BCP 47, canonical URLs, SPDX."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

_YEAR = re.compile(r"\d{4}(?:-\d\d)?")  # and month
_LANGUAGES = {
    **{"english": "en", "german": "de", "french": "fr", "spanish": "es", "italian": "it", "portuguese": "pt"},
    **{"dutch": "nl", "finnish": "fi", "swedish": "sv", "danish": "da", "norwegian": "no", "latin": "la"},
    **{"polish": "pl", "russian": "ru", "greek": "el", "hungarian": "hu", "chinese": "zh", "japanese": "ja"},
}
_PORTS = {"http": "80", "https": "443", "ftp": "21"}
#: Query parameters that say how somebody came to a page, and not which page it is.
_TRACKING = re.compile(
    r"(?:utm_\w+|fbclid|gclid|dclid|gbraid|wbraid|msclkid|yclid|twclid|igshid|mc_[ce]id|_hs(?:enc|mi)|ref_src|ref_url"
    r"|vero_id|oly_(?:anon|enc)_id|rb_clickid|s_cid|wickedid|sessionid|phpsessid|jsessionid|sid)",
    re.IGNORECASE,
)
#: ISO 639-2 and 639-3 codes that have a shorter form, which BCP 47 asks for (RFC 5646, 2.2.1); older codes.
_SHORT = {
    **{"eng": "en", "deu": "de", "ger": "de", "fra": "fr", "fre": "fr", "spa": "es", "ita": "it", "por": "pt"},
    **{"nld": "nl", "dut": "nl", "rus": "ru", "zho": "zh", "chi": "zh", "jpn": "ja", "kor": "ko", "ara": "ar"},
    **{"pol": "pl", "swe": "sv", "dan": "da", "nor": "no", "nob": "nb", "nno": "nn", "fin": "fi", "ces": "cs"},
    **{"cze": "cs", "ell": "el", "gre": "el", "hun": "hu", "tur": "tr", "ukr": "uk", "ron": "ro", "rum": "ro"},
    **{"heb": "he", "hin": "hi", "tha": "th", "vie": "vi", "ind": "id", "lat": "la", "cat": "ca", "slk": "sk"},
    **{"iw": "he", "in": "id", "ji": "yi", "jw": "jv", "mo": "ro"},
}
_TAG = re.compile(r"[A-Za-z]{2,8}(?:[-_][A-Za-z0-9]{1,8})*")
_NAMES = {
    **{"public domain": "CC-PDM-1.0", "pd": "CC-PDM-1.0", "cc0": "CC0-1.0", "cc-zero": "CC0-1.0", "mit license": "MIT"},
    **{"apache 2": "Apache-2.0", "apache 2.0": "Apache-2.0", "apache license 2.0": "Apache-2.0", "mit": "MIT"},
    **{"apache license, version 2.0": "Apache-2.0", "apache-2": "Apache-2.0", "bsd": "BSD-3-Clause"},
    **{"bsd 3-clause": "BSD-3-Clause", "bsd 2-clause": "BSD-2-Clause", "mpl 2.0": "MPL-2.0", "psf": "PSF-2.0"},
    **{"gpl-2": "GPL-2.0-only", "gpl-2+": "GPL-2.0-or-later", "gpl-3": "GPL-3.0-only", "gpl-3+": "GPL-3.0-or-later"},
    **{"gplv2": "GPL-2.0-only", "gplv3": "GPL-3.0-only", "gfdl": "GFDL-1.3-or-later", "odbl": "ODbL-1.0"},
}
_DEED = re.compile(r"creativecommons\.org/(licenses|publicdomain)/([a-z+-]+)/(\d\.\d)", re.IGNORECASE)
_CC = re.compile(r"(?:cc|creative commons)[ -]?(by(?:[ -](?:nc|nd|sa))*)[ -](\d(?:\.\d)?)", re.IGNORECASE)
_SPDX = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*-\d+(?:\.\d+)*(?:-[A-Za-z0-9.-]+)?|MIT|ISC|Unlicense|Zlib|0BSD")


def language(value: Any) -> str | None:
    """A BCP 47 tag from a tag or the English name of a language; None for what is neither.

    >>> language("pt_BR"), language("German"), language("x-klingon?")
    ('pt-BR', 'de', None)
    """
    if not isinstance(value, str):
        return None
    tag = value.strip()
    known = _LANGUAGES.get(tag.lower())
    return known or (language_tag(tag) if _TAG.fullmatch(tag) and len(re.split("[-_]", tag)[0]) <= 3 else None)


def moment(value: Any) -> datetime | None:
    """A time in UTC from ISO 8601 or RFC 5322 text, Twitter's form, (milli)seconds since 1970 or a year; else None."""
    if isinstance(value, str):
        return _written(value.strip())
    if isinstance(value, int) and 1000 <= value < 3000:  # a year: as seconds it would be the first hour of 1970
        return datetime(value, 1, 1, tzinfo=UTC)
    if isinstance(value, int | float) and not isinstance(value, bool):
        with suppress(ValueError, OverflowError, OSError):
            return datetime.fromtimestamp(value / 1000 if abs(value) > 1e11 else value, UTC)
        return None
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    return _utc(value) if isinstance(value, datetime) else None


def _written(text: str) -> datetime | None:
    if re.fullmatch(r"\d{9,13}(?:\.\d+)?", text):
        return moment(float(text))
    readers: tuple[Callable[[str], datetime], ...] = (
        lambda t: datetime.fromisoformat(f"{t}-01-01"[:10] if _YEAR.fullmatch(t) else t),
        lambda t: datetime.strptime(t, "%a %b %d %H:%M:%S %z %Y"),
        parsedate_to_datetime,
    )
    for read in readers:
        with suppress(ValueError, TypeError, OverflowError, IndexError):
            return _utc(read(text))
    return None


def _utc(when: datetime) -> datetime | None:
    with suppress(ValueError, OverflowError):
        return when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)
    return None


@lru_cache(maxsize=4096)
def language_tag(tag: str) -> str:
    """A BCP 47 tag in its usual case and its shortest form (RFC 5646); what is none comes back as it was.

    >>> language_tag("ENG"), language_tag("zh_hant_tw"), language_tag("pt-BR"), language_tag("Klingon!")
    ('en', 'zh-Hant-TW', 'pt-BR', 'Klingon!')
    """
    plain = tag.strip().split(".")[0]
    if not _TAG.fullmatch(plain):
        return tag
    first, *rest = re.split("[-_]", plain)
    parts = [_SHORT.get(first.lower(), first.lower())]
    for place, part in enumerate(rest):
        after_singleton = place and len(rest[place - 1]) == 1
        if len(part) == 4 and part.isalpha() and not after_singleton:
            parts.append(part.title())
        elif len(part) == 2 and part.isalpha() and not after_singleton:
            parts.append(part.upper())
        else:
            parts.append(part.lower())
    return "-".join(parts)


def canonical_url(url: str) -> str:
    """The address without fragment, default port, tracking parameters and user; host in small letters, query sorted.

    >>> canonical_url("HTTP://Example.ORG:80/a/../b?utm_source=x&z=1&a=2#top")
    'http://example.org/b?a=2&z=1'
    """
    try:
        parts = urlsplit(url.strip())
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        return url
    if parts.scheme.lower() not in ("http", "https") or not host:
        return url
    if ":" in host:
        host = f"[{host}]"
    kept = sorted((k, v) for k, v in parse_qsl(parts.query, keep_blank_values=True) if not _TRACKING.fullmatch(k))
    place = host if port is None or str(port) == _PORTS.get(parts.scheme.lower()) else f"{host}:{port}"
    return urlunsplit((parts.scheme.lower(), place, _path(parts.path), urlencode(kept), ""))


def _path(path: str) -> str:
    """Without "." and ".." (RFC 3986, 5.2.4), with a slash at least."""
    kept: list[str] = []
    for part in path.split("/")[1:]:
        if part == "..":
            kept[-1:] = []
        elif part != ".":
            kept.append(part)
    if path.endswith(("/.", "/..")):
        kept.append("")
    return "/" + "/".join(kept)


@lru_cache(maxsize=4096)
def spdx_license(text: str) -> str:
    """The SPDX name of a licence that ``text`` names or links to; of other statements the text itself.

    >>> spdx_license("https://creativecommons.org/licenses/by-sa/4.0/deed.de"), spdx_license("CC BY 3.0")
    ('CC-BY-SA-4.0', 'CC-BY-3.0')
    >>> spdx_license("© 2024 Somebody")
    '© 2024 Somebody'
    """
    plain = " ".join(text.split())
    if plain.lower() in _NAMES:
        return _NAMES[plain.lower()]
    if deed := _DEED.search(plain):
        if deed[1].lower() == "publicdomain":
            return "CC0-1.0" if deed[2].lower() == "zero" else "CC-PDM-1.0"
        return f"CC-{deed[2].upper()}-{deed[3]}"
    if named := _CC.fullmatch(plain.replace("_", "-")):
        version = named[2] if "." in named[2] else f"{named[2]}.0"
        return f"CC-{named[1].upper().replace(' ', '-')}-{version}"
    return plain if _SPDX.fullmatch(plain) else text
