"""The model card: ``README.md`` of a model's folder, its header as the Hugging Face Hub reads it, filled from the run.

``gather`` collects the facts where the run ends, ``card.json`` keeps them, ``render`` writes the page; once the model
is evaluated it is written again with what was measured (``lamina model export``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamina.contracts.trust import Finding, as_json
from lamina.kit.durable import atomic_write

if TYPE_CHECKING:
    from lamina.model.spec import ModelSpec
    from lamina.model.transformer import Transformer
    from lamina.recipes.train_section import TrainSection

FACTS, CARD = "card.json", "README.md"
_TASKS = {
    "causal-lm": "text-generation",
    "dpo": "text-generation",
    "kto": "text-generation",
    "masked-lm": "fill-mask",
    "next-sentence": "fill-mask",
    "span-corruption": "text2text-generation",
    "translation": "translation",
    "classification": "text-classification",
    "contrastive": "sentence-similarity",
}
_KINDS = {
    "gpt": "A language model that goes on with text (a decoder)",
    "bert": "An encoder of texts",
    "seq2seq": "A model that reads one text and writes another (an encoder and a decoder)",
}
_SMALLEST = 0.01  # share of the documents that makes a language one of the model's


def write_card(
    staging: Path,
    model: Transformer,
    section: TrainSection,
    run: Mapping[str, Any],
    findings: Sequence[Finding],
    *,
    about: Mapping[str, Any],
    base: Path,
) -> None:
    """Write the card of ``staging / "model"``, and its facts for the next time. ``base``: what it began with."""
    told = dict(about)
    if told.get("base") is not None and not told.get("base_license"):
        told["base_license"] = _license_in(base / CARD)
    facts = gather(model.spec, section, run, findings, parameters=model.parameter_count, about=told)
    atomic_write(staging / FACTS, json.dumps(facts, indent=1, ensure_ascii=False).encode())
    atomic_write(staging / "model" / CARD, render(facts).encode())


def _license_in(card: Path) -> str | None:
    """What a model's own card says."""
    from huggingface_hub import ModelCard

    try:
        data: Any = ModelCard(card.read_text(encoding="utf-8"), ignore_metadata_errors=True).data
    except (OSError, ValueError):
        return None
    named = data.license_name if data.license == "other" else data.license
    return None if named is None else str(named)


def gather(
    spec: ModelSpec,
    section: TrainSection,
    run: Mapping[str, Any],
    findings: Sequence[Finding],
    *,
    parameters: int,
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """All that the card says of a run, as plain values. ``about``: see ``run_context``."""
    from lamina.model.architectures.presets import architecture_of
    from lamina.model.families import family_of_spec

    kept = ("optimizer", "schedule", "batch", "accumulate", "length", "seed")
    return {
        "name": about.get("name") or "model",
        "base": about.get("base"),
        "base_license": about.get("base_license"),
        "architecture": architecture_of(spec),
        "family": family_of_spec(spec)[0].model_type,
        "parameters": parameters,
        "vocabulary": spec.stack.embeddings.vocabulary,
        "context": spec.max_positions,
        "run": dict(run),
        "settings": {name: getattr(section, name) for name in kept},
        "data": _data(about.get("corpus")),
        "rows": None if section.rows is None else {"from": about.get("rows"), "license": about.get("rows_license")},
        "trust": as_json(findings),
    }


def _data(corpus: str | None) -> dict[str, Any] | None:
    """Sources, licences and languages of a corpus."""
    file = None if corpus is None else Path(corpus) / "report.json"
    if file is None or not file.is_file():
        return None
    from lamina.data.report_flow import rights_in_words, rights_of

    report = json.loads(file.read_bytes())
    rights = report.get("rights") or rights_of(file.parent)
    return {
        "documents": report["documents"],
        "train": report["train"],
        "held_out": report["held_out"],
        "languages": report["languages"],
        "licenses": rights.get("licenses", {}),
        "sources": {
            name: {key: source[key] for key in ("use", "documents", "characters")}
            for name, source in report["sources"].items()
        },
        "rights": rights_in_words(rights, report["documents"]),
    }


def render(facts: Mapping[str, Any], evaluation: Sequence[str] | None = None) -> str:
    """The card as Markdown; ``evaluation``: lines of what was measured, None where nothing was yet."""
    from huggingface_hub import ModelCardData

    license, name = _license(facts)
    base = facts["base"]
    header = ModelCardData(
        base_model=None if base is None else str(base).removeprefix("hf:"),
        language=_languages(facts) or None,
        library_name="sentence-transformers" if facts["run"]["objective"] == "contrastive" else "transformers",
        license=license,
        license_name=name,
        pipeline_tag=_TASKS[facts["run"]["objective"]],
        tags=["lamina"],
        ignore_metadata_errors=True,
    )
    parts = [
        f"---\n{header.to_yaml()}\n---",
        f"# {facts['name']}",
        _what(facts),
        "## Data\n\n" + _data_section(facts),
        "## Training\n\n" + _training(facts),
        "## Evaluation\n\n" + _evaluation(evaluation),
        "## Limits\n\n" + _limits(facts),
        "## Checks\n\n" + "\n".join(f"- **{f['verdict']}**: {f['what']}: {f['measured']}" for f in _findings(facts)),
    ]
    return "\n\n".join(parts) + "\n"


def _findings(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    return list(facts["trust"]["findings"])


def _licenses(facts: Mapping[str, Any]) -> list[str]:
    """Of the base and of what was learned, each once; "unknown" where one does not say."""
    named = [facts["base_license"] or "unknown"] if facts["base"] is not None else []
    if facts["rows"] is not None:
        named.append(facts["rows"]["license"] or "unknown")
    if facts["data"] is not None:
        named += [license for counts in facts["data"]["licenses"].values() for license in counts]
    return list(dict.fromkeys(named))


def _license(facts: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """The Hub's two fields: an identifier, or "other" with words."""
    found = _licenses(facts)
    if len(found) == 1 and found[0] != "unknown":
        return found[0].lower(), None
    return ("other", ", ".join(found)) if found else (None, None)


def _languages(facts: Mapping[str, Any]) -> list[str]:
    counts = {} if facts["data"] is None else facts["data"]["languages"]
    total = sum(counts.values())
    return [code for code, count in counts.items() if count >= _SMALLEST * total and code not in ("unknown", "und")]


def _what(facts: Mapping[str, Any]) -> str:
    size = f"{facts['parameters'] / 1e6:,.1f} million parameters"
    shape = f"vocabulary of {facts['vocabulary']:,} tokens, context of {facts['context']:,}"
    begun = "trained from fresh weights" if facts["base"] is None else f"trained further from `{facts['base']}`"
    method = " with a low-rank adapter, merged" if facts["run"]["method"] == "lora" else ""
    kind = f"{_KINDS[facts['architecture']]} in the form of `{facts['family']}`"
    cut = facts["run"].get("pruning")
    smaller = f" It was {cut['what']}, and then learned from the scores of what it was cut from." if cut else ""
    return f"{kind}: {size}, {shape}. It was {begun}{method}, by Lamina; `transformers` opens this folder.{smaller}"


def _data_section(facts: Mapping[str, Any]) -> str:
    data, lines = facts["data"], []
    if data is not None:
        lines.append(
            f"{data['documents']:,} documents: {data['train']:,} to learn from, {data['held_out']:,} held out."
        )
        rows = [
            (name, source["use"], _counted(data["licenses"].get(name, {})), source["documents"], source["characters"])
            for name, source in data["sources"].items()
        ]
        lines.append(_table(("source", "kind", "licence (documents)", "documents", "characters"), rows))
        lines += [line[:1].upper() + line[1:] + "." for line in data["rights"]]
    if facts["rows"] is not None:
        place = facts["rows"]["from"]
        named = "Rows of people's judgements" if place is None else f"Rows from `{place}`"
        lines.append(f"{named}, licence {facts['rows']['license'] or 'unknown'}.")
    if facts["base"] is not None:
        chosen = facts["run"].get("base_choice")
        why = f" It was chosen by machine: {chosen['why']}." if chosen else ""
        licence = facts["base_license"] or "unknown"
        lines.append(f"The model that it began with, `{facts['base']}`: licence {licence}.{why}")
    return "\n\n".join(lines or ["Nothing is known of it."])


def _counted(licenses: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count:,})" for name, count in licenses.items()) or "unknown"


def _training(facts: Mapping[str, Any]) -> str:
    run, settings = facts["run"], facts["settings"]
    rows: list[tuple[str, Any]] = [
        ("objective", run["objective"]),
        ("method", run["method"]),
        ("steps", run["steps"]),
        ("tokens learned", run["tokens"]),
        ("seconds", run["seconds"]),
        ("precision", run["precision"]),
        ("loss at the end (nats)", f"{run['loss_nats']:.4f}"),
        ("learning rate, at its peak", run.get("learning_rate")),
    ]
    rows += [(name, value) for name, value in settings.items()]
    return _table(("", ""), [row for row in rows if row[1] is not None])


def _evaluation(lines: Sequence[str] | None) -> str:
    if not lines:
        return "Not measured when this card was written; `lamina model export` writes it with what was measured since."
    return "\n".join(f"- {line}" for line in lines)


def _limits(facts: Mapping[str, Any]) -> str:
    languages = _languages(facts)
    others = "it knows none" if facts["base"] is None else "it knows what its base does"
    lines = [f"It learned from documents in {', '.join(languages)}; of other languages {others}."]
    if not languages:
        lines = ["Nothing was measured of the languages that it knows."]
    if _TASKS[facts["run"]["objective"]].endswith("generation"):
        lines.append("It writes what is likely after its documents, which need not be true; answers want their source.")
    lines.append("The figures are of held-out data from the same sources; elsewhere they can be worse.")
    lines.append("Nobody examined it for bias, for harmful output or for what it says of people in its documents.")
    lines += [f"A check failed: {f['what']} ({f['measured']})." for f in _findings(facts) if f["verdict"] == "fail"]
    return "\n".join(f"- {line}" for line in lines)


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    shown = [[f"{v:,}" if isinstance(v, int) else str(v).replace("|", "\\|") for v in row] for row in rows]
    lines = [head, ["---"] * len(head), *shown]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
