"""``lamina compress``."""

from __future__ import annotations

from typing import Annotated

import typer

from lamina.cli.options import DEFAULT, AsJson, Settings, StackFile, open_stack_file, write_out


def compress(
    slo: Annotated[
        str | None, typer.Option(help="What the plan must meet: ttft=300ms,itl=30ms,quality=-1%; any of them.")
    ] = None,
    plan: Annotated[list[str] | None, typer.Option(help="A plan to try beside the parent; default: all.")] = None,
    take: Annotated[str | None, typer.Option(help="Take this plan, whatever the times.")] = None,
    stack: StackFile = DEFAULT,
    set: Settings = None,
    json: AsJson = False,
) -> None:
    """Try ways to make the champion smaller and faster, show what each costs, and register the one to take."""
    from lamina.recipes.compress import compress as recipe

    write_out(recipe(open_stack_file(stack, set), slo=slo, plans=plan or [], take=take, json=json), json)
