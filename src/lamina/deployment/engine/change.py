"""What can be changed of an engine while it runs: between two steps, by the engine's own thread."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """None: as it is. ``threads`` compute a token, ``prompt_threads`` a prompt; ``sequences`` are answered at a time,
    ``rows`` of them in one product; ``chunk`` and ``wide_chunk``: see ``Scheduler``; ``blocks`` may be used."""

    threads: int | None = None
    prompt_threads: int | None = None
    sequences: int | None = None
    rows: int | None = None
    chunk: int | None = None
    wide_chunk: int | None = None
    blocks: int | None = None

    def then(self, later: Change) -> Change:
        """Both, the ``later`` one winning."""
        said = {field.name: getattr(later, field.name) for field in fields(later)}
        return replace(self, **{name: value for name, value in said.items() if value is not None})


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheState:
    """Blocks of keys and values: ``total`` have addresses, ``limit`` may be used, ``touched`` are in memory;
    ``coming``: bytes that those of a draft model may still take."""

    total: int
    limit: int
    touched: int
    block_bytes: int
    block_tokens: int
    coming: int = 0
