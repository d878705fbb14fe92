"""``lamina data``: build the corpus, and ask it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lamina.cli.options import DEFAULT, AsJson, Because, Settings, StackFile, open_stack_file, write_out

data = typer.Typer(help="Build and inspect the corpus.", no_args_is_help=True, rich_markup_mode=None)


@data.command("build")
def data_build(stack: StackFile = DEFAULT, set: Settings = None, json: AsJson = False) -> None:
    """Collect, clean, deduplicate and split; print the report."""
    from lamina.recipes.up import build_data

    write_out(build_data(open_stack_file(stack, set), json=json), json)


@data.command("report")
def data_report(
    out: Annotated[Path | None, typer.Option(help="Where to write the page; default: beside the stack file.")] = None,
    stack: StackFile = DEFAULT,
    set: Settings = None,
) -> None:
    """Write the corpus as one page with pictures: sources, losses, lengths, languages, samples."""
    from lamina.recipes.variety import report

    typer.echo(report(open_stack_file(stack, set), out))


@data.command("variety")
def data_variety(
    reference: Annotated[
        str | None, typer.Option(help="What it should cover: a corpus, a stack file, or documents at any location.")
    ] = None,
    vectors: Annotated[
        Path | None, typer.Option(help="Other vectors: .npy with a row for each document, or word vectors.")
    ] = None,
    radius: Annotated[
        float | None, typer.Option(help="Cosine distance that counts as covered; default: by neighbours.")
    ] = None,
    stack: StackFile = DEFAULT,
    set: Settings = None,
    json: AsJson = False,
) -> None:
    """How varied the corpus is: shares, topics, distinct n-grams, Vendi score, gaps; against a reference too."""
    from lamina.recipes.variety import variety

    opened = open_stack_file(stack, set)
    write_out(variety(opened, reference=reference, vectors=vectors, radius=radius, as_json=json), json)


@data.command("explain")
def data_explain(
    query: Annotated[str, typer.Argument(help="An id, a URL, or words of a text.")],
    stack: StackFile = DEFAULT,
    set: Settings = None,
    json: AsJson = False,
) -> None:
    """Why a document is in the corpus, or is not: signals, rules, edits, duplicates, tokens."""
    from lamina.recipes.corpus_tools import explain

    write_out(explain(open_stack_file(stack, set), query, as_json=json), json)


@data.command("whereis")
def data_whereis(
    offset: Annotated[int, typer.Argument(help="A token of the shards, from 0.")],
    stack: StackFile = DEFAULT,
    set: Settings = None,
    json: AsJson = False,
) -> None:
    """The document that a training token came from."""
    from lamina.recipes.corpus_tools import whereis

    write_out(whereis(open_stack_file(stack, set), offset, as_json=json), json)


@data.command("tokenizers")
def data_tokenizers(
    vocabulary: Annotated[str, typer.Option(help="Sizes, with commas: 4096,8192; default: the stack's.")] = "",
    use: Annotated[str, typer.Option(help="Kinds, with commas: bpe,unigram,wordpiece; default: all.")] = "",
    places: Annotated[
        list[str] | None, typer.Option("--with", help='One that is there: a folder, a location, or "base".')
    ] = None,
    held_out: Annotated[bool, typer.Option("--held-out/--trained", help="Which documents are measured.")] = True,
    stack: StackFile = DEFAULT,
    set: Settings = None,
    json: AsJson = False,
) -> None:
    """Train tokenizers on the corpus and compare them: bytes per token by source, unknown words, price."""
    from lamina.recipes.tokenizers import compare, listed, sizes

    opened = open_stack_file(stack, set)
    found = compare(
        opened, uses=listed(use), vocabularies=sizes(vocabulary), places=places or (), held_out=held_out, as_json=json
    )
    write_out(found, json)


@data.command("export")
def data_export(
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
    format: Annotated[str, typer.Option(help="datatrove, megatron, nanogpt or olmo.")],
    stack: StackFile = DEFAULT,
    set: Settings = None,
    json: AsJson = False,
) -> None:
    """Write the corpus' tokens in the format of another trainer."""
    from lamina.recipes.tokenizers import export

    write_out(export(open_stack_file(stack, set), folder, format=format, as_json=json), json)


@data.command("what-if")
def data_what_if(
    rule: Annotated[
        list[str] | None, typer.Option("--rule", help='A rule and another expression: "quality: words >= 50".')
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="Labels to fit thresholds to: see lamina data labels.")] = None,
    stack: StackFile = DEFAULT,
    set: Settings = None,
    json: AsJson = False,
) -> None:
    """What other thresholds would keep and drop, on the signals measured before."""
    from lamina.recipes.corpus_tools import what_if

    write_out(what_if(open_stack_file(stack, set), rule or [], labels=labels, as_json=json), json)


@data.command("labels")
def data_labels(
    file: Annotated[Path, typer.Argument(help="The file of labels; what is to be labelled is added to it.")] = Path(
        "labels.jsonl"
    ),
    count: Annotated[int, typer.Option(help="How many documents to add.")] = 50,
    stack: StackFile = DEFAULT,
    set: Settings = None,
    json: AsJson = False,
) -> None:
    """Choose documents to label, keep or not, and say how good a classifier from the labels so far is."""
    from lamina.recipes.labels import labels

    write_out(labels(open_stack_file(stack, set), file, count=count, as_json=json), json)


@data.command("augment")
def data_augment(
    verdict: Annotated[
        bool, typer.Option("--verdict", help="Train a small model without and with children, and say if it helped.")
    ] = False,
    seeds: Annotated[int | None, typer.Option(help="Of the verdict: how often it is tried; default 5.")] = None,
    label: Annotated[
        str | None, typer.Option(help="Of the verdict: the column, or key of meta, that a classifier learns.")
    ] = None,
    stack: StackFile = DEFAULT,
    set: Settings = None,
    json: AsJson = False,
) -> None:
    """What the augmentation of the stack file would do to some documents; nothing is kept."""
    from lamina.recipes.augment import judge, show

    opened = open_stack_file(stack, set)
    if not verdict and (seeds is not None or label is not None):
        raise typer.BadParameter("--seeds and --label are the verdict's: add --verdict")
    found = judge(opened, seeds=5 if seeds is None else seeds, label=label, as_json=json) if verdict else None
    write_out(show(opened, as_json=json) if found is None else found, json)


@data.command("forget")
def data_forget(
    id: Annotated[list[str] | None, typer.Option("--id", help="A document's id.")] = None,
    url: Annotated[list[str] | None, typer.Option("--url", help="Where it was read: an address, or a file.")] = None,
    author: Annotated[list[str] | None, typer.Option("--author", help="Who wrote it.")] = None,
    source: Annotated[list[str] | None, typer.Option("--source", help="All of a source.")] = None,
    text: Annotated[list[str] | None, typer.Option("--text", help="Words of its text.")] = None,
    because: Because = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    stack: StackFile = DEFAULT,
    set: Settings = None,
    json: AsJson = False,
) -> None:
    """Take documents, near copies and what was made of them out of everything, and keep them out.

    Without a document named: list what was forgotten, and check the signatures.
    """
    from lamina.recipes.forget import forget

    def confirm(words: str) -> bool:
        return yes or (sys.stdin.isatty() and typer.confirm(f"{words}\n\nForget them?"))

    found = forget(
        open_stack_file(stack, set),
        ids=id or (),
        urls=url or (),
        authors=author or (),
        sources=source or (),
        texts=text or (),
        because=because,
        dry_run=dry_run,
        confirm=confirm,
        as_json=json,
    )
    write_out(found, json)
