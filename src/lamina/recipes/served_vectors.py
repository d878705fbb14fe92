"""Word vectors that a stack serves beside its models: files that it names, and those its embedding layer began as."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, get_args

from lamina.contracts.lineage import Alias
from lamina.kit.errors import ConfigError, NotFoundError
from lamina.recipes.current import recall
from lamina.recipes.fresh import FILE
from lamina.recipes.stack import Stack

if TYPE_CHECKING:
    from lamina.deployment.texts.words import WordVectors
    from lamina.model.vectors.keyed_vectors import KeyedVectors

#: The name of the vectors that ``[model.embedding]`` began as.
EMBEDDING = "embedding"


def served_vectors(stack: Stack) -> list[WordVectors]:
    """All of them, opened. Raises ``ConfigError`` for a name that is taken and for a file that is not there,
    ``ModelFileError`` for one that cannot be read."""
    from lamina.deployment.texts.words import WordVectors
    from lamina.model.vectors.gram_files import read_with_grams

    found = _embedding(stack)
    taken = {stack.name, *get_args(Alias), *stack.deployment.adapters, *(one.name for one in found)}
    for name, given in stack.deployment.vectors.items():
        where, file = f"deployment.vectors.{name}", stack.folder / given
        if name in taken:
            raise ConfigError("the name is taken", where=where, hint="choose another one")
        if not file.is_file():
            raise ConfigError(f"there is no file '{given}'", where=where, hint=f"lamina vectors train {given}")
        vectors = read_with_grams(file)
        found.append(WordVectors(name, vectors, words_of(vectors)))
    return found


def _embedding(stack: Stack) -> list[WordVectors]:
    """The vectors of ``[model.embedding]``, where the last build had such: of tokens, where they were learned."""
    from lamina.deployment.texts.words import WordVectors
    from lamina.kit.tokenizer import open_tokenizer
    from lamina.model.vectors.vector_files import read_vectors
    from lamina.recipes.fresh import pieces_of

    try:
        current = recall(stack)
    except NotFoundError:  # nothing was built yet
        return []
    if current.vectors is None or current.base is None or stack.model is None:
        return []
    file = stack.state / "vectors" / current.vectors / FILE
    if not file.is_file():  # it went with documents that were forgotten
        return []
    vectors = read_vectors(file)
    if not stack.model.embedding.learned:
        return [WordVectors(EMBEDDING, vectors, words_of(vectors))]
    tokenizer = open_tokenizer(stack.state / "bases" / current.base)
    pieces = pieces_of(tokenizer)
    return [WordVectors(EMBEDDING, vectors, lambda text: [pieces[i] for i in tokenizer.encode(text)])]


def words_of(vectors: KeyedVectors) -> Callable[[str], Sequence[str]]:
    """How a text is cut into words: as ``lamina vectors train`` cuts, in lower case where all words of ``vectors`` are
    so."""
    import polars as pl

    from lamina.data.clean.words import LETTERS

    cased = any(word != word.lower() for word in vectors.words)

    def split(text: str) -> Sequence[str]:
        found: list[str] = pl.Series([text if cased else text.lower()]).str.extract_all(LETTERS)[0].to_list()
        return found

    return split
