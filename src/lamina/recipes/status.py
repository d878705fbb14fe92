"""``lamina status`` and ``lamina releases``: what stands, what is stale and why, what is served."""

from __future__ import annotations

from typing import Any

from lamina.data.tombstones import Tombstones
from lamina.deployment.engine.native.binding import describe
from lamina.kit.errors import LaminaError
from lamina.kit.progress import open_progress
from lamina.kit.stages import Stage, Workshop
from lamina.recipes.architectures import AUTO
from lamina.recipes.base_choice import told_base
from lamina.recipes.ngrams import counts_ngrams, ngrams_stage
from lamina.recipes.plan import Plan
from lamina.recipes.pruning import conditions
from lamina.recipes.removals import stale_versions
from lamina.recipes.stack import Stack, learns_rows
from lamina.recipes.versions import open_registry as open_registry  # read from here, too


def status(stack: Stack, *, as_json: bool) -> Any:
    """Each stage with its condition and the reason, then the versions."""
    from lamina.recipes.row_plan import open_plan

    progress = open_progress("quiet")
    plan = open_plan(stack, Workshop(stack.state, progress), progress)
    plan.chooses = False  # to look at a stack changes nothing
    names = ["corpus"] if stack.collects else []
    if stack.model is not None:
        names += ["rows"] if learns_rows(stack.model) else []
        names += ["base"]
        if (stack.data is not None or learns_rows(stack.model)) and stack.model.train is not None:
            names += ["tokenizer"] if stack.data is not None and stack.data.tokenizer.trained else []
            names += ["training"] if learns_rows(stack.model) else ["tokens", "passages", "training"]
            names += ["ngrams"] if "tokens" in names and counts_ngrams(stack) else []
    rows = []
    stages = {name: lambda name=name: plan.workshop.condition(_stage(plan, name)) for name in names}
    for name, look in (stages | conditions(plan)).items():
        try:
            condition = look()
            rows.append({"stage": name, "state": condition.state, "why": condition.why})
        except LaminaError as error:
            rows.append({"stage": name, "state": "stale", "why": str(error)})
    releases = list_releases(stack, as_json=True)
    for version in releases["versions"]:
        if version["id"] in (stale := stale_versions(stack)):
            version["stale"] = f"learned from documents that were forgotten since ({', '.join(stale[version['id']])})"
    rows += [
        {"stage": "forget", "state": "interrupted", "why": f"{r.id} is not carried through: run lamina data forget"}
        for r in Tombstones(stack.state).pending
    ]
    auto = stack.model is not None and stack.model.base == AUTO
    base = told_base(stack)
    if as_json:
        told = {"base": base} if auto else {}
        return {"stack": stack.name, **told, "stages": rows, "native_kernels": describe(), **releases}
    chosen = "not chosen yet: lamina up" if base is None else f"{base['location']}: {base['why']}"
    lines = [f"{stack.name} ({stack.file})", *([f"  base model: {chosen}"] if auto else [])]
    lines += [*(f"  {r['stage']:<10} {r['state']:<12} {r['why']}" for r in rows)]
    lines.append(f"  native kernels: {describe()}")
    return "\n".join([*lines, _describe(releases)])


def _stage(plan: Plan, name: str) -> Stage:
    stage: Stage = ngrams_stage(plan.workshop.folder(plan.tokens)) if name == "ngrams" else getattr(plan, name)
    return stage


def list_releases(stack: Stack, *, as_json: bool) -> Any:
    """Versions, aliases and the last verdicts."""
    with open_registry(stack) as registry:
        aliases = dict(registry.aliases())
        versions = [
            {
                "id": v.id,
                "role": v.role,
                "parent": v.parent,
                "created": v.created.isoformat(timespec="seconds"),
                "metrics": dict(v.metrics),
                "digest": v.digest,
            }
            for v in registry.versions()
        ]
        receipts = [
            {
                "id": r.id,
                "challenger": r.challenger,
                "verdict": r.verdict,
                "reasons": list(r.reasons),
                "by": r.decided_by,
            }
            for r in registry.receipts()
        ]
    found = {"aliases": aliases, "versions": versions, "receipts": receipts}
    return found if as_json else _describe(found)


def _describe(found: dict[str, Any]) -> str:
    names: dict[str, list[str]] = {}
    for alias, version in found["aliases"].items():
        names.setdefault(version, []).append(alias)
    lines = []
    for version in found["versions"]:
        bits = version["metrics"].get("bits_per_byte")
        figure = f"{bits:.3f} bits per byte" if isinstance(bits, float) else ""
        alias = ", ".join(names.get(version["id"], []))
        stale = f"  stale: {version['stale']}" if "stale" in version else ""
        lines.append(f"  {version['id']:<5} {version['role']:<10} {alias:<12} {version['created']}  {figure}{stale}")
    for receipt in found["receipts"][-5:]:
        lines.append(
            f"  {receipt['verdict']}: {receipt['challenger'] or '-'} ({receipt['by']}): {'; '.join(receipt['reasons'])}"
        )
    return "\n".join(lines or ["  no versions yet: lamina up"])
