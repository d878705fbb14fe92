"""``lamina vectors``: train word vectors on the stack's corpus or on files, and ask them."""

from __future__ import annotations

import difflib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lamina.contracts.corpus import Inbox, SourceFile
from lamina.kit.errors import ConfigError, InputError, NotFoundError
from lamina.kit.packages import fetch_location
from lamina.kit.progress import Progress, open_progress
from lamina.recipes.collect import matching
from lamina.recipes.corpus import record_batches
from lamina.recipes.corpus_tools import corpus_folder
from lamina.recipes.stack import open_stack

if TYPE_CHECKING:
    import pyarrow as pa

    from lamina.model.vectors.keyed_vectors import KeyedVectors
    from lamina.model.vectors.vocabulary import Corpus, Vocabulary
    from lamina.model.vectors.word2vec import Trained

Algorithm = Literal["skip-gram", "cbow", "glove"]
_ALGORITHMS = ("skip-gram", "cbow", "glove")
_FORMS = ("binary", "text")
_NEAR = 3  # spellings that are proposed
_SHOWN = 5  # files named that could not be read


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How vectors are trained; None: the default of the algorithm."""

    algorithm: str = "skip-gram"
    width: int = 100
    window: int | None = None
    epochs: int | None = None
    min_count: int = 5
    threads: int | None = None
    seed: int = 0
    reproducible: bool = False
    case: bool = False  # words as they are written; else in lower case
    subwords: bool = False  # words as bags of n-grams of letters, which give vectors to words never seen
    form: str = "binary"

    def __post_init__(self) -> None:
        for name, choices in (("algorithm", _ALGORITHMS), ("form", _FORMS)):
            if getattr(self, name) not in choices:
                raise ConfigError(
                    f"cannot be '{getattr(self, name)}'", where=f"--{name}", hint="one of " + ", ".join(choices)
                )
        if self.subwords and self.algorithm == "glove":
            raise ConfigError("GloVe learns whole words", where="--subwords", hint="with skip-gram or cbow")


def train(
    out: Path,
    places: Sequence[str],
    settings: Settings,
    *,
    stack: Path,
    assignments: Sequence[str] = (),
    as_json: bool = False,
) -> Any:
    """Vectors of the words in ``places`` (files, folders, locations), or in the training split of the stack's corpus,
    written to the file ``out`` in word2vec's format."""
    from lamina.model.vectors.gram_files import write_with_grams
    from lamina.model.vectors.vocabulary import read_sentences

    progress = open_progress("json" if as_json else "auto")
    if out.is_dir():
        raise InputError("is a folder", where=str(out), hint="name a file: vectors.bin")
    unread = _Unread()
    batches = (
        _documents(places, unread, progress)
        if places
        else record_batches(corpus_folder(open_stack(stack, assignments)), "train")
    )
    with progress.task("words", total=None, unit="documents") as task:
        lines = _sentences(batches, settings.case, task.advance)
        vocabulary, corpus = read_sentences(lines, min_count=settings.min_count)
    for line in unread.in_words():
        progress.say(line)
    progress.say(f"{corpus.seen:,} words, {len(vocabulary):,} of them different and frequent enough")
    trained = _trained(vocabulary, corpus, settings, progress)
    write_with_grams(trained.vectors, out, form="text" if settings.form == "text" else "binary")
    found = {
        "file": str(out),
        "algorithm": settings.algorithm,
        "words": len(trained.vectors),
        "width": trained.vectors.width,
        "corpus": corpus.seen,
        "losses": list(trained.losses),
    }
    if as_json:
        return found
    losses = " -> ".join(f"{loss:.3f}" for loss in dict.fromkeys((trained.losses[0], trained.losses[-1])))
    return f"wrote {out}: {found['words']:,} words of {found['width']} numbers; loss {losses} nats a pair"


def nearest(file: Path, words: Sequence[str], *, count: int = 10, as_json: bool = False) -> Any:
    """The words nearest to the sum of ``words``; one that begins with "-" is taken away."""
    vectors = _opened(file)
    minus = [_known(vectors, word[1:], file) for word in words if word.startswith("-") and len(word) > 1]
    plus = [_known(vectors, word, file) for word in words if not word.startswith("-") or len(word) == 1]
    return _told(vectors.most_similar(plus, minus, topn=_positive(count)), as_json)


def analogy(file: Path, a: str, b: str, c: str, *, count: int = 5, as_json: bool = False) -> Any:
    """``a`` is to ``b`` as ``c`` is to …"""
    vectors = _opened(file)
    a, b, c = (_known(vectors, word, file) for word in (a, b, c))
    return _told(vectors.analogy(a, b, c, topn=_positive(count)), as_json)


def evaluate(file: Path, questions: Sequence[Path], *, as_json: bool = False) -> Any:
    """The score of the vectors on each file of questions: pairs with people's scores, or analogies."""
    from lamina.model.vectors.evaluation import Analogies, evaluate_analogies, evaluate_likeness

    vectors = _opened(file)
    found: list[dict[str, Any]] = []
    lines: list[str] = []
    for place in questions:
        score = (evaluate_analogies if _asks_analogies(place) else evaluate_likeness)(vectors, place)
        lines.append(f"{place.name}: {score}")
        if isinstance(score, Analogies):
            row = {"accuracy": score.accuracy, "right": score.right, "asked": score.asked, "sections": score.sections}
        else:
            row = {"spearman": score.spearman, "asked": score.pairs}
        found.append({"file": str(place), **row, "unknown": score.unknown})
    return found if as_json else "\n".join(lines)


def _trained(vocabulary: Vocabulary, corpus: Corpus, settings: Settings, progress: Progress) -> Trained:
    from lamina.model.vectors.glove import GloveParameters, train_glove
    from lamina.model.vectors.ngrams import Grams
    from lamina.model.vectors.word2vec import Word2VecParameters, train_word2vec

    given: dict[str, Any] = {"width": settings.width, "seed": settings.seed, "threads": settings.threads}
    given |= {name: getattr(settings, name) for name in ("window", "epochs") if getattr(settings, name) is not None}
    if settings.algorithm == "glove":
        with tempfile.TemporaryDirectory(prefix="lamina-glove-") as work:
            return train_glove(
                vocabulary, corpus, parameters=GloveParameters(**given), work=Path(work), progress=progress
            )
    subwords = Grams() if settings.subwords else None
    given |= {"algorithm": settings.algorithm, "reproducible": settings.reproducible, "subwords": subwords}
    return train_word2vec(vocabulary, corpus, parameters=Word2VecParameters(**given), progress=progress)


@dataclass(slots=True)
class _Unread:
    """The report of a source, as far as it is told here."""

    reasons: list[str] = field(default_factory=list)

    def read(self, name: str) -> None:
        """Nothing is told of what was read."""

    def unread(self, name: str, reason: str) -> None:
        """What was not read, and why."""
        self.reasons.append(f"not read: {name}: {reason}")

    def in_words(self) -> list[str]:
        """The first few, and how many more there are."""
        more = len(self.reasons) - _SHOWN
        return [*self.reasons[:_SHOWN], *([f"… and {more:,} more"] if more > 0 else [])]


def _documents(places: Sequence[str], unread: _Unread, progress: Progress) -> Iterator[pa.RecordBatch]:
    """The documents of files, folders and locations, in any form that the source "files" reads."""
    from lamina.data.sources.files import files

    with tempfile.TemporaryDirectory(prefix="lamina-vectors-") as cache:
        for place in places:
            located = fetch_location(place, cache=Path(cache), progress=progress, hashed=False)
            found = tuple(SourceFile(name=n, path=p) for n, p in matching(located.path, ("**/*",), Path(cache)))
            if not found:
                raise InputError("holds no file", where=place)
            inbox = Inbox(source="vectors", files=found, origin=place, collected=datetime.now(UTC), report=unread)
            yield from files(inbox)


def _sentences(batches: Iterable[pa.RecordBatch], case: bool, advance: Any) -> Iterator[list[str]]:
    """The words of each line of each document: runs of letters and digits."""
    import polars as pl

    from lamina.data.clean.words import LETTERS

    for batch in batches:
        texts = pl.Series(batch["text"].to_pylist(), dtype=pl.String).drop_nulls()
        lines = texts.str.split("\n").explode()
        lines = lines if case else lines.str.to_lowercase()
        words = lines.str.extract_all(LETTERS)
        yield from words.filter(words.list.len() > 0).to_list()
        advance(batch.num_rows)


def _opened(file: Path) -> KeyedVectors:
    from lamina.model.vectors.gram_files import read_with_grams

    if not file.is_file():
        raise NotFoundError("there is no such file of vectors", where=str(file), hint=f"lamina vectors train {file}")
    return read_with_grams(file)


def _known(vectors: KeyedVectors, word: str, file: Path) -> str:
    """The form of ``word`` that has a vector. Raises ``NotFoundError`` that proposes near spellings."""
    for form in (word, word.lower()):
        if form in vectors:
            return form
    low = word.lower()
    if vectors.subwords is not None:
        return low if all(known == known.lower() for known in vectors.words) else word
    near = [w for w in vectors.words if abs(len(w) - len(low)) <= 2 and (w[:1].lower() == low[:1] or len(w) <= 4)]
    close = difflib.get_close_matches(low, near, n=_NEAR, cutoff=0.6)
    hint = "did you mean " + ", ".join(f"'{w}'" for w in close) + "?" if close else None
    raise NotFoundError(f"no vector for the word '{word}'", where=str(file), hint=hint)


def _positive(count: int) -> int:
    if count < 1:
        raise ConfigError(f"{count} words cannot be shown", where="--count")
    return count


def _asks_analogies(place: Path) -> bool:
    """Whether a file has four words a line; else it has pairs with a score."""
    try:
        with place.open(encoding="utf-8") as lines:
            first = next((line for line in lines if line.strip() and not line.startswith("#")), "")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", where=str(place)) from error
    return first.startswith(":") or (len(first.split()) == 4 and "\t" not in first and "," not in first)


def _told(found: Sequence[tuple[str, float]], as_json: bool) -> Any:
    if as_json:
        return [{"word": word, "cosine": round(cosine, 6)} for word, cosine in found]
    widest = max((len(word) for word, _ in found), default=0)
    return "\n".join(f"{word:<{widest}}  {cosine:.3f}" for word, cosine in found)
