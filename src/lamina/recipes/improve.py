"""``lamina improve``: feedback → snapshot → fresh adapter → seal → gate → promote, reject or *inconclusive*."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamina.contracts.lineage import ModelVersion, Receipt
from lamina.kit import config
from lamina.kit.database import Database
from lamina.kit.durable import digest_folder
from lamina.kit.errors import InputError, NotFoundError
from lamina.kit.identity import new_id
from lamina.kit.progress import Progress, open_progress
from lamina.kit.stages import Stage, Workshop
from lamina.recipes.current import read_json, recall
from lamina.recipes.feedback_training import training_rows
from lamina.recipes.gate import Evidence, Judgement, Measured, judge
from lamina.recipes.served import served_stage
from lamina.recipes.stack import Stack
from lamina.recipes.status import open_registry

if TYPE_CHECKING:
    from lamina.deployment.registry import ModelRegistry


def improve(stack: Stack, *, json: bool = False, progress: Progress | None = None) -> Receipt:
    """One turn of the loop; the receipt is kept before the champion changes."""
    progress = progress or open_progress("json" if json else "auto")
    workshop = Workshop(stack.state, progress)
    snapshot, facts = take_snapshot(stack)
    method = stack.interface.improve.method
    learned = facts[f"{method}_train"]
    progress.say(
        f"snapshot {snapshot.name[:12]}: {learned} rows to learn from ({method}), {facts['sft_held_out']} held out, "
        f"of {facts['people']} people"
    )
    if not learned and facts["sft_train"]:
        training_rows(snapshot, method)  # says which feedback is missing
    with open_registry(stack) as registry:
        champion = registry.resolve("champion")
        if not learned and not facts["sft_held_out"]:
            receipt = _receipt(champion, None, _nothing(stack), snapshot)
        else:
            made = _train(stack, workshop, registry, snapshot) if learned else None
            found = _evidence(workshop, registry, stack, champion, made, snapshot)
            challenger = _add(registry, made, snapshot, found) if made else None
            evidence = Evidence(**{name: Measured(**found[name]) for name in ("feedback", "learned", "documents")})
            receipt = _receipt(champion, challenger, _judge(stack, evidence, challenger), snapshot)
        registry.add_receipt(receipt)
        if receipt.verdict == "promote":
            registry.promote(receipt.challenger, because="; ".join(receipt.reasons))
        return receipt


def approve(stack: Stack, version: str, *, because: str | None) -> Receipt:
    """A person promotes ``version``; receipt and log say so."""
    if not because or not because.strip():
        raise InputError("a human decision needs a reason", where="--because", hint='--because "checked by hand"')
    with open_registry(stack) as registry:
        found = registry.resolve(version)
        receipt = Receipt(
            id=new_id("receipt"),
            champion=registry.resolve("champion").id,
            challenger=found.id,
            verdict="promote",
            reasons=(because.strip(),),
            results={},
            snapshot=found.snapshot,
            decided_by=f"human: {because.strip()}",
            created=datetime.now(UTC),
        )
        registry.add_receipt(receipt)
        registry.promote(found.id, because=f"human decision: {because.strip()}")
        return receipt


def take_snapshot(stack: Stack) -> tuple[Path, dict[str, Any]]:
    """Today's feedback as SFT, KTO and DPO rows in a published folder named by its content, and its counts."""
    from lamina.interface.learn.curate import write_snapshot
    from lamina.interface.store import FeedbackStore

    stack.state.mkdir(parents=True, exist_ok=True)
    database = Database.open(stack.database)
    try:
        store = FeedbackStore(database)
        folder = write_snapshot(store.judged(), stack.state / "snapshots", share_cap=stack.interface.improve.share_cap)
    finally:
        database.close()
    return folder, read_json(folder / "facts.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """A trained candidate: its served artefact, its run, and the version that it started from."""

    served: Path
    run: Path
    parent: ModelVersion


def _train(stack: Stack, workshop: Workshop, registry: ModelRegistry, snapshot: Path) -> _Made:
    """Train fresh from the version that was trained on the documents, on all accepted rows."""
    settings, current = stack.interface.improve, recall(stack)
    parent = _documents_version(registry)
    inputs = {
        "start": workshop.state / ("runs" if parent.run else "bases") / str(parent.run or current.base),
        "snapshot": snapshot,
    }
    if current.tokens:
        inputs["tokens"] = workshop.state / "tokens" / current.tokens
    training = Stage(
        name="feedback-training",
        shelf="runs",
        function="lamina.recipes.feedback_training:train_on_feedback",
        parameters={"improve": config.resolved(settings), "part": "model" if parent.run else ""},
        inputs=inputs,
        versions={"train": 1},
        context={
            "stack": stack.table,
            "references": str(stack.state / "references"),
            "about": {
                "name": stack.name,
                "base": parent.id,
                "corpus": str(workshop.state / "corpora" / current.corpus) if current.corpus else None,
            },
        },
    )
    run = workshop.run(training)
    corpus = workshop.state / "corpora" / current.corpus if current.corpus else None
    served = workshop.run(served_stage(stack, run, part="model", corpus=corpus))
    return _Made(served=served, run=run, parent=parent)


def _add(registry: ModelRegistry, made: _Made, snapshot: Path, found: Mapping[str, Any]) -> ModelVersion:
    """The candidate as a version, under the name *challenger*."""
    version = registry.add(
        made.served / "model",
        role="feedback",
        parent=made.parent.id,
        run=made.run.name,
        corpus=made.parent.corpus,
        snapshot=snapshot.name,
        metrics=found["metrics"],
        seal=read_json(made.served / "seal.json"),
    )
    registry.set_alias("challenger", version.id)
    return version


def _documents_version(registry: ModelRegistry) -> ModelVersion:
    candidates = [v for v in registry.versions() if v.role in ("documents", "base")]
    if not candidates:
        raise NotFoundError("there is no version trained on the documents", hint="run `lamina up` first")
    return max(candidates, key=lambda v: v.created)


def _evidence(
    workshop: Workshop,
    registry: ModelRegistry,
    stack: Stack,
    champion: ModelVersion,
    made: _Made | None,
    snapshot: Path,
) -> dict[str, Any]:
    """What both models do on the same held-out items (champion against itself where there is no candidate)."""
    current = recall(stack)
    inputs = {"snapshot": snapshot}
    if current.corpus:
        inputs["corpus"] = workshop.state / "corpora" / current.corpus
    if champion.snapshot:
        inputs["earlier"] = workshop.state / "snapshots" / champion.snapshot
    standing = registry.folder(champion.id)
    tokens = stack.model.evaluate.tokens if stack.model else 0
    folder = workshop.run(
        Stage(
            name="evidence",
            shelf="evaluations",
            function="lamina.recipes.evaluation:gather_evidence",
            parameters={
                "champion": champion.digest,
                "challenger": digest_folder(made.served) if made else champion.digest,
                "tokens": tokens,
            },
            inputs=inputs,
            versions={"evaluate": 1},
            context={"champion": str(standing), "challenger": str(made.served / "model" if made else standing)},
        )
    )
    return read_json(folder / "evidence.json")


def _judge(stack: Stack, evidence: Evidence, challenger: ModelVersion | None) -> Judgement:
    settings = stack.interface.improve
    if challenger is None:
        return Judgement(
            verdict="inconclusive",
            reasons=("all feedback so far is held out, so there is nothing to learn from yet: ask more people",),
            results={"people": len(set(evidence.feedback.clusters)), "missing": settings.minimum},
        )
    return judge(
        evidence,
        minimum=settings.minimum,
        confidence=settings.confidence,
        margin=settings.margin,
        learned_margin=settings.learned_margin,
    )


def _nothing(stack: Stack) -> Judgement:
    minimum = stack.interface.improve.minimum
    return Judgement(
        verdict="inconclusive",
        reasons=(f"there is no correction or approved answer yet; about {5 * minimum} people's are needed",),
        results={"people": 0, "missing": minimum},
    )


def _receipt(champion: ModelVersion, challenger: ModelVersion | None, judgement: Judgement, snapshot: Path) -> Receipt:
    return Receipt(
        id=new_id("receipt"),
        champion=champion.id,
        challenger=challenger.id if challenger else "",
        verdict=judgement.verdict,
        reasons=judgement.reasons,
        results=judgement.results,
        snapshot=snapshot.name,
        decided_by="gate",
        created=datetime.now(UTC),
    )


def describe(receipt: Receipt, *, as_json: bool) -> Any:
    """The receipt for a person, or for a machine."""
    if as_json:
        return asdict(receipt) | {"created": receipt.created.isoformat()}
    lines = [
        f"{receipt.verdict}: {receipt.challenger or 'no challenger'} against {receipt.champion} ({receipt.decided_by})"
    ]
    lines += [f"  - {reason}" for reason in receipt.reasons]
    for name in ("feedback", "learned", "documents"):
        if name in receipt.results:
            lines.append("  " + _line(name, receipt.results[name]))
    if receipt.verdict == "inconclusive" and receipt.challenger:
        lines.append(f'  a person may decide: lamina improve --approve {receipt.challenger} --because "…"')
    return "\n".join(lines)


def _line(name: str, facts: Mapping[str, Any]) -> str:
    gain = facts["improvement"]
    return (
        f"{name:<10} {facts['champion']:.3f} -> {facts['challenger']:.3f} bits per byte, gain {gain['mean']:+.3f} "
        f"[{gain['low']:+.3f}, {gain['high']:+.3f}], {facts['items']} items"
    )
