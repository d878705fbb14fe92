"""The command line: every verb is a recipe. Heavy imports happen inside the verbs, so that ``--help`` is instant."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from lamina import __version__
from lamina.cli.bench import bench
from lamina.cli.compression import compress
from lamina.cli.data import data
from lamina.cli.models import model
from lamina.cli.options import DEFAULT, AsJson, Because, Settings, StackFile, open_stack_file, write_out
from lamina.cli.vectors import vectors
from lamina.kit.errors import LaminaError
from lamina.kit.limits import tell_libraries
from lamina.kit.starting import begin

app = typer.Typer(
    name="lamina",
    help="Documents in at one end, a language model of your own out at the other, and back.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
releases = typer.Typer(
    help="Versions of the model: list, promote, roll back.", no_args_is_help=True, rich_markup_mode=None
)
keys = typer.Typer(help="API keys: create, list, revoke.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(data, name="data")
app.add_typer(vectors, name="vectors")
app.add_typer(releases, name="releases")
app.add_typer(model, name="model")
app.add_typer(keys, name="keys")
app.add_typer(bench, name="bench")
app.command()(compress)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lamina {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def up(
    places: Annotated[
        list[str] | None, typer.Argument(help="Folders, files or URLs to write a stack file for.")
    ] = None,
    stack: StackFile = DEFAULT,
    set: Settings = None,
    serve: Annotated[bool, typer.Option(help="Serve when everything is fresh.")] = True,
    json: AsJson = False,
) -> None:
    """Bring up the stack: do what is stale, then serve. With PLACES, write a stack file for them first."""
    from lamina.recipes.up import bring_up

    bring_up(stack, set or [], places=places or [], serve=serve, json=json)


@app.command()
def serve(
    stack: StackFile = DEFAULT,
    set: Settings = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say what bounds the speed and what was chosen.")] = False,
    json: AsJson = False,
) -> None:
    """Serve the champion: API and web page."""
    if explain:
        from lamina.recipes.fitting import explain as told

        write_out(told(open_stack_file(stack, set), as_json=json), json)
        return
    begin()
    from lamina.recipes.serve import serve as run

    run(open_stack_file(stack, set), json=json)


@app.command()
def train(
    stack: StackFile = DEFAULT,
    set: Settings = None,
    budget: Annotated[str | None, typer.Option(help="Time to train, as 20m: model.train.budget.")] = None,
    json: AsJson = False,
) -> None:
    """Train on the documents and register the version, without serving."""
    from lamina.recipes.up import bring_up

    given = [] if budget is None else [f"model.train.budget={budget}"]
    bring_up(stack, [*(set or []), *given], places=[], serve=False, json=json)


@app.command()
def evaluate(
    place: Annotated[
        str | None, typer.Argument(help="One model: a folder, a version, a location; default: base and tuned model.")
    ] = None,
    task: Annotated[list[Path] | None, typer.Option(help="A file of a task; nothing is built then.")] = None,
    against: Annotated[str | None, typer.Option(help="Of tasks: another model, compared on the same items.")] = None,
    draws: Annotated[int, typer.Option(help="Of tasks: of each perturbation.")] = 0,
    stack: StackFile = DEFAULT,
    set: Settings = None,
    json: AsJson = False,
) -> None:
    """Measure base and tuned model: bits per byte, the stack's questions and tasks; or any model on tasks."""
    if place is None and not task and against is None:
        from lamina.recipes.up import show_evaluation

        write_out(show_evaluation(open_stack_file(stack, set), json=json), json)
        return
    from lamina.recipes.task_evaluation import CHAMPION, evaluate_on_tasks

    opened = open_stack_file(stack, set) if stack.is_file() or place is None else None
    found = evaluate_on_tasks(place or CHAMPION, task or [], stack=opened, against=against, draws=draws, json=json)
    write_out(found, json)


@app.command()
def report(
    out: Annotated[Path | None, typer.Option(help="Where to write the page; default: beside the stack file.")] = None,
    version: Annotated[str | None, typer.Option(help="A version's run; default: the last on the documents.")] = None,
    pictures: Annotated[Path | None, typer.Option(help="A folder for the curves (SVG).")] = None,
    stack: StackFile = DEFAULT,
    set: Settings = None,
) -> None:
    """Write a training run as one page: curves, samples, figures, and what was checked of the saved model."""
    from lamina.recipes.run_report import report as recipe

    typer.echo(recipe(open_stack_file(stack, set), out, version=version, pictures=pictures))


@app.command()
def improve(
    stack: StackFile = DEFAULT,
    set: Settings = None,
    approve: Annotated[str | None, typer.Option(help="Promote this version by a person's decision.")] = None,
    because: Annotated[str | None, typer.Option(help="Why, kept in receipt and log.")] = None,
    json: AsJson = False,
) -> None:
    """Feedback to the next version: snapshot, train, gate, and promote, reject or say what is missing."""
    from lamina.recipes import improve as recipe

    opened = open_stack_file(stack, set)
    if approve is not None:
        receipt = recipe.approve(opened, approve, because=because)
    else:
        receipt = recipe.improve(opened, json=json)
    write_out(recipe.describe(receipt, as_json=json), json)


@app.command()
def status(stack: StackFile = DEFAULT, set: Settings = None, json: AsJson = False) -> None:
    """What is fresh, stale and served, and why."""
    from lamina.recipes.status import status as recipe

    write_out(recipe(open_stack_file(stack, set), as_json=json), json)


@app.command()
def trace(
    id: Annotated[str, typer.Argument(help="An answer, feedback, version or document.")],
    stack: StackFile = DEFAULT,
    set: Settings = None,
    json: AsJson = False,
) -> None:
    """Where an answer came from: version, run, snapshot, corpus, sources."""
    from lamina.recipes.trace import describe, open_lineage

    with open_lineage(open_stack_file(stack, set)) as lineage:
        found = lineage.trace(id)
    write_out(describe(found, as_json=json), json)


@app.command()
def replay(id: str, stack: StackFile = DEFAULT, set: Settings = None, json: AsJson = False) -> None:
    """Make a stored answer again, by the same version, adapter, prompt and seed: is it the same?"""
    from lamina.recipes.replay import described
    from lamina.recipes.replay import replay as run

    found = run(open_stack_file(stack, set), id)
    write_out(described(found, as_json=json), as_json=json)
    if not found.identical:
        raise typer.Exit(1)


@app.command()
def demo(
    folder: Annotated[Path | None, typer.Option(help="Where to work; default: a temporary folder.")] = None,
    json: AsJson = False,
) -> None:
    """Rehearse the whole loop in about a minute: tiny model, simulated users, one promotion, one rejection."""
    from lamina.recipes.demo import demo as recipe

    recipe(folder, json=json)


@releases.command("list")
def releases_list(stack: StackFile = DEFAULT, set: Settings = None, json: AsJson = False) -> None:
    """Versions, aliases and verdicts."""
    from lamina.recipes.status import list_releases

    write_out(list_releases(open_stack_file(stack, set), as_json=json), json)


@releases.command("promote")
def releases_promote(version: str, because: Because, stack: StackFile = DEFAULT, set: Settings = None) -> None:
    """Make VERSION the champion; a running server swaps to it within a second or two."""
    from lamina.recipes.improve import approve

    approve(open_stack_file(stack, set), version, because=because)
    typer.echo(f"{version} is the champion")


@releases.command("rollback")
def releases_rollback(because: Because, stack: StackFile = DEFAULT, set: Settings = None) -> None:
    """Make the champion before the present one champion again."""
    from lamina.recipes.status import open_registry

    with open_registry(open_stack_file(stack, set)) as registry:
        typer.echo(f"{registry.rollback(because=because)} is the champion again")


@keys.command("create")
def keys_create(
    name: Annotated[str, typer.Argument(help="Who will use it.")],
    scope: Annotated[list[str] | None, typer.Option(help="infer, feedback, train, admin, metrics.")] = None,
    stack: StackFile = DEFAULT,
    set: Settings = None,
) -> None:
    """Create an API key; it is shown once. From the first key on, every request needs one."""
    from lamina.recipes.serve import open_keys

    with open_keys(open_stack_file(stack, set)) as opened:
        _, token = opened.create(name, tuple(scope or ("infer", "feedback")))
    typer.echo(token)


@keys.command("list")
def keys_list(stack: StackFile = DEFAULT, set: Settings = None, json: AsJson = False) -> None:
    """Names, ids and scopes."""
    from lamina.recipes.serve import open_keys

    with open_keys(open_stack_file(stack, set)) as opened:
        rows = opened.list()
    lines = [f"{k.id}  {k.name}  {' '.join(k.scopes)}{'  revoked' if k.revoked else ''}" for k in rows]
    write_out([asdict(k) for k in rows] if json else "\n".join(lines) or "no keys", json)


@keys.command("revoke")
def keys_revoke(id: str, stack: StackFile = DEFAULT, set: Settings = None) -> None:
    """Refuse this key from now on."""
    from lamina.recipes.serve import open_keys

    with open_keys(open_stack_file(stack, set)) as opened:
        opened.revoke(id)
    typer.echo(f"{id} is revoked")


def main() -> None:
    """Run the command line; a ``LaminaError`` becomes one line and an exit code, never a traceback."""
    # Threads of a matrix product that spin while they wait starve each other as soon as anything else runs.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's; torch has threads of its own
    tell_libraries()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        app()
    except LaminaError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        typer.echo("stopped; what was done is kept, run the same command to go on", err=True)
        raise SystemExit(130) from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(141) from None
