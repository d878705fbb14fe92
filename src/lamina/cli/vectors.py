"""``lamina vectors``: train word vectors, and ask them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lamina.cli.options import DEFAULT, AsJson, Settings, StackFile, write_out

vectors = typer.Typer(help="Train word vectors, and ask them.", no_args_is_help=True, rich_markup_mode=None)
VectorsFile = Annotated[Path, typer.Argument(help="A file of vectors: word2vec's text or binary form, or GloVe's.")]


@vectors.command("train")
def vectors_train(
    file: Annotated[Path, typer.Argument(help="The file to write.")],
    places: Annotated[
        list[str] | None, typer.Argument(help="Files, folders or locations of texts; default: the stack's corpus.")
    ] = None,
    algorithm: Annotated[str, typer.Option(help="skip-gram, cbow or glove.")] = "skip-gram",
    width: Annotated[int, typer.Option(help="Numbers of a vector.")] = 100,
    window: Annotated[int | None, typer.Option(help="Words to each side; default 5, of glove 10.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes; default 5, of glove 25.")] = None,
    min_count: Annotated[int, typer.Option(help="Words seen less often are left out.")] = 5,
    threads: Annotated[int | None, typer.Option(help="Default: as many as there are processors.")] = None,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = 0,
    reproducible: Annotated[
        bool, typer.Option("--reproducible", help="The same bytes for the same seed and threads.")
    ] = False,
    case: Annotated[bool, typer.Option("--case", help="Keep upper case.")] = False,
    subwords: Annotated[
        bool, typer.Option("--subwords", help="Learn n-grams of letters, too: words never seen get vectors.")
    ] = False,
    form: Annotated[str, typer.Option(help="binary or text.")] = "binary",
    stack: StackFile = DEFAULT,
    set: Settings = None,
    json: AsJson = False,
) -> None:
    """Word2Vec or GloVe on the stack's corpus, or on PLACES; each line of a text is a sentence."""
    from lamina.recipes import vectors as recipe

    settings = recipe.Settings(
        algorithm=algorithm,
        width=width,
        window=window,
        epochs=epochs,
        min_count=min_count,
        threads=threads,
        seed=seed,
        reproducible=reproducible,
        case=case,
        subwords=subwords,
        form=form,
    )
    write_out(recipe.train(file, places or [], settings, stack=stack, assignments=set or [], as_json=json), json)


@vectors.command("nearest")
def vectors_nearest(
    file: VectorsFile,
    words: Annotated[list[str], typer.Argument(help='Words, which are added up; after "--", -WORD takes one away.')],
    count: Annotated[int, typer.Option(help="How many are shown.")] = 10,
    json: AsJson = False,
) -> None:
    """The words nearest to WORDS, and their cosines."""
    from lamina.recipes.vectors import nearest

    write_out(nearest(file, words, count=count, as_json=json), json)


@vectors.command("analogy")
def vectors_analogy(
    file: VectorsFile,
    a: str,
    b: str,
    c: str,
    count: Annotated[int, typer.Option(help="How many are shown.")] = 5,
    json: AsJson = False,
) -> None:
    """A is to B as C is to …: the words nearest to B - A + C."""
    from lamina.recipes.vectors import analogy

    write_out(analogy(file, a, b, c, count=count, as_json=json), json)


@vectors.command("evaluate")
def vectors_evaluate(
    file: VectorsFile,
    questions: Annotated[
        list[Path], typer.Argument(help="WordSim-353, SimLex-999, Google's analogies, or files of their form.")
    ],
    json: AsJson = False,
) -> None:
    """Agreement with people on pairs of words, and right answers to analogies."""
    from lamina.recipes.vectors import evaluate

    write_out(evaluate(file, questions, as_json=json), json)
