"""What is missing or too much, in words: of a corpus by itself, and against a reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_ONE_AUTHOR = 0.25  # of the characters: more by one author is worth a word
_ONE_GROUP = 0.7  # by one source, language or topic
_UNKNOWN = 0.5  # of the documents
_REPEATED = 0.05  # of the documents with a near duplicate
_OLD = 2  # years between the newest document and its collection
_SCARCE = 0.25  # of the reference's share
_PRESENT = 0.01  # share that a group of the reference must have
_HARDLY, _NOT = 0.6, 0.2  # of a topic's documents that are covered
_FEW = 8  # sampled documents of a topic that say something of it

Variety = Mapping[str, Any]


def gaps(variety: Variety) -> list[str]:
    """What a corpus lacks or has too much of, the gravest first."""
    shares = variety["shares"]
    found = [
        *_one(shares["author"], variety["characters"], _ONE_AUTHOR, "one author, '{}', wrote {} of the characters"),
        *_dominant(shares, variety["characters"]),
        *_newest(shares["year"], variety.get("collected")),
        *_unknown(shares, variety["documents"]),
    ]
    rate = variety.get("near_duplicates", {}).get("rate", 0.0)
    if rate > _REPEATED:
        found.append(f"{percent(rate)} of the documents have a near duplicate among the others")
    return found


def gaps_against(variety: Variety, reference: Variety, topics: Sequence[Variety]) -> list[str]:
    """What the ``reference`` has and the corpus lacks.

    ``topics`` of the reference: name, share of its documents, how many were compared, and the share of them that the
    corpus covers.
    """
    found = [*_later(variety, reference), *_scarce(variety, reference)]
    for topic in topics:
        if topic["compared"] < _FEW or topic["covered"] >= _HARDLY:
            continue
        of = f"topic '{topic['name']}' of the reference ({percent(topic['share'])} of it)"
        rest = "is not covered" if topic["covered"] < _NOT else "is hardly covered"
        found.append(f"{of} {rest}: {percent(topic['covered'])} of its documents have a neighbour here")
    return found


def percent(share: float) -> str:
    """A share for people: "12 %", "0.3 %"."""
    value = 100 * share
    if not value:
        return "0 %"
    if 99.5 <= value < 100:
        return "over 99 %"
    return "under 0.1 %" if value < 0.1 else f"{value:.1f} %" if value < 1 else f"{value:.0f} %"


def _one(facet: Variety, total: int, limit: float, words: str) -> list[str]:
    groups = sorted(facet["groups"], key=lambda g: (-g["characters"], g["name"]))[:1]
    return [
        words.format(g["name"], percent(g["characters"] / total))
        for g in groups
        if total and g["characters"] > limit * total
    ]


def _dominant(shares: Variety, total: int) -> list[str]:
    found: list[str] = []
    for facet in ("source", "language", "topic"):
        if facet in shares and (shares[facet]["distinct"] > 1 or shares[facet]["unknown"]["documents"]):
            found += _one(shares[facet], total, _ONE_GROUP, f"one {facet}, '{{}}', makes {{}} of the characters")
    return found


def _newest(years: Variety, collected: int | None) -> list[str]:
    known = [int(g["name"]) for g in years["groups"]]
    if not known or collected is None or years["distinct"] > len(known) or collected - max(known) < _OLD:
        return []
    return [f"no document of {max(known) + 1} or later (collected in {collected})"]


def _unknown(shares: Variety, documents: int) -> list[str]:
    words = {"language": "no language", "author": "no author", "year": "no date"}
    missing = {w: shares[f]["unknown"]["documents"] / documents for f, w in words.items() if documents}
    return [f"{percent(share)} of the documents have {word}" for word, share in missing.items() if share > _UNKNOWN]


def _later(variety: Variety, reference: Variety) -> list[str]:
    """The year from which on the reference has documents and the corpus none."""
    mine = {int(g["name"]) for g in variety["shares"]["year"]["groups"]}
    theirs = {int(g["name"]): g["documents"] for g in reference["shares"]["year"]["groups"]}
    if not mine:
        return []
    later = {year: n for year, n in theirs.items() if year > max(mine)}
    share = sum(later.values()) / reference["documents"] if later else 0.0
    if share < _PRESENT:
        return []
    return [f"no document of {min(later)} or later, {percent(share)} in the reference"]


def _scarce(variety: Variety, reference: Variety) -> list[str]:
    mine = {g["name"]: g["documents"] / variety["documents"] for g in variety["shares"]["language"]["groups"]}
    found = []
    for group in reference["shares"]["language"]["groups"]:
        share = group["documents"] / reference["documents"]
        here = mine.get(group["name"], 0.0)
        if share >= _PRESENT and here < _SCARCE * share:
            found.append(f"language {group['name']}: {percent(here)} here, {percent(share)} in the reference")
    return found
