"""The documents of the served corpus by id, for the web page's source panel."""

from __future__ import annotations

from typing import Any

from lamina.contracts.feedback import InteractionStore
from lamina.kit.errors import NotFoundError
from lamina.recipes.stack import Stack

COLUMNS = ("id", "title", "author", "url", "source", "license", "created", "text")


class StackDocuments:
    """Looks a document up in the corpus folder; corrections are looked up in the store by the API itself."""

    def __init__(self, stack: Stack, corpus: str | None, store: InteractionStore) -> None:
        self._folder = stack.state / "corpora" / corpus / "data" if corpus else None
        self._store = store

    def document(self, id: str) -> dict[str, Any]:
        """The document's columns; raises ``NotFoundError``."""
        import polars as pl

        if self._folder is not None:
            found = (
                pl.scan_parquet(self._folder / "*.parquet")
                .filter(pl.col("id") == id)
                .select(COLUMNS)
                .limit(1)
                .collect()
            )
            if found.height:
                row = found.row(0, named=True)
                return row | {"created": row["created"].isoformat() if row["created"] else None}
        raise NotFoundError(f"there is no document '{id}'", where="id")
