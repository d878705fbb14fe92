"""``lamina bench``: measure the stack on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lamina.cli.options import DEFAULT, AsJson, Settings, StackFile, write_out

bench = typer.Typer(help="Measure the stack on this machine.", no_args_is_help=True, rich_markup_mode=None)
Lengths = "as 256, 64-512 (even), or 256~0.5 (log-normal: median and spread)"


@bench.callback()
def _top() -> None:
    pass


@bench.command("serve")
def bench_serve(
    url: Annotated[
        str | None, typer.Option(help="An OpenAI-compatible server; default: the stack's own, started where none runs.")
    ] = None,
    rate: Annotated[
        list[float] | None, typer.Option(help="Requests a second, once or several times; default: a sweep.")
    ] = None,
    duration: Annotated[str, typer.Option(help="Of each rate.")] = "30s",
    requests: Annotated[int, typer.Option(help="Of each rate, at most.")] = 10_000,
    prompt_tokens: Annotated[str, typer.Option(help=f"Of made prompts, {Lengths}.")] = "256",
    answer_tokens: Annotated[str, typer.Option(help="Of their answers, in the same form.")] = "128",
    file: Annotated[Path | None, typer.Option("--from", help="Requests instead: OpenAI's bodies, one a line.")] = None,
    slo: Annotated[
        str, typer.Option(help="What a good answer keeps: ttft, itl (its mean), e2e.")
    ] = "ttft=1s,itl=100ms",
    timeout: Annotated[str, typer.Option(help="When a request is given up.")] = "120s",
    model: Annotated[str | None, typer.Option(help="Default: the champion, or the first that is listed.")] = None,
    seed: Annotated[int, typer.Option(help="Of arrivals, lengths and words.")] = 0,
    remote: Annotated[bool, typer.Option("--remote", help="The server may be on another machine.")] = False,
    out: Annotated[Path | None, typer.Option(help="A folder for the results; default: in the state folder.")] = None,
    stack: StackFile = DEFAULT,
    set: Settings = None,
    json: AsJson = False,
) -> None:
    """Poisson arrivals at the server: times to the first token and between tokens, throughput, goodput, errors."""
    from lamina.recipes import bench_serve as recipe

    settings = recipe.Settings(
        url=url,
        model=model,
        rates=tuple(rate or ()),
        duration=duration,
        requests=requests,
        prompt_tokens=prompt_tokens,
        answer_tokens=answer_tokens,
        file=file,
        slo=slo,
        timeout=timeout,
        seed=seed,
        remote=remote,
        out=out,
    )
    write_out(recipe.bench_serve(settings, file=stack, assignments=set or [], json=json), json)
