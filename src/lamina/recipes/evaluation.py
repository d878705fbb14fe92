"""Stages that measure a served artefact: bits per byte, questions about the documents, evidence for the gate."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamina.contracts.chat import Message
from lamina.contracts.inference import Chunk, SamplingParams
from lamina.kit.durable import atomic_write
from lamina.kit.errors import LaminaError
from lamina.kit.progress import Progress
from lamina.kit.spawn import imports
from lamina.recipes.corpus import record_batches

if TYPE_CHECKING:
    from lamina.deployment.engine.cache import Cache
    from lamina.kit.tokenizer import ModelTokenizer
    from lamina.model.transformer import Transformer

_ANSWER_TOKENS = 48
_TOGETHER = 16  # answers in a batch
_NATS = 0.6931471805599453  # of a bit


@imports(
    "lamina.model.evaluate.bits_per_byte",
    "lamina.deployment.compress.quantize",
    "lamina.deployment.engine.engine",
    "lamina.interface.grounding.passages",
)
def evaluate(
    staging: Path, work: Path, parameters: dict[str, Any], inputs: Mapping[str, Path], progress: Progress
) -> None:
    """Writes ``evaluation.json``: bits per byte, the score on the stack's questions with and without sources, tasks.

    ``parameters["tasks"]``: (file, hash of its content) of each, in the context's folder; ``["draws"]``: see
    ``tasks.run_tasks``.
    """
    from lamina.model.device import choose_device
    from lamina.model.evaluate.bits_per_byte import bits_per_byte

    model, tokenizer = _open(inputs["served"] / "model")
    model.to(choose_device(parameters["context"].get("device", "cpu"), where="deployment.device"))
    texts = [text for _, text in held_out(inputs["corpus"], tokenizer, parameters["tokens"])]
    measured = bits_per_byte(model, tokenizer, texts, progress=progress)
    found: dict[str, Any] = {
        "bits_per_byte": measured.value,
        "tokens": measured.tokens,
        "per_document": [list(pair) for pair in measured.per_document],
        "questions": {},
    }
    if parameters.get("tasks"):
        from lamina.recipes.tasks import run_tasks

        files = [Path(parameters["context"]["folder"]) / file for file, _ in parameters["tasks"]]
        found["tasks"] = run_tasks(files, model, tokenizer, draws=parameters.get("draws", 0), progress=progress)
    model.to("cpu")  # the engine that asks has its own ways on a GPU
    if parameters["questions"]:
        ask = _asker(model, tokenizer, parameters["system"], progress, parameters.get("cache"))
        found["questions"]["weights"] = _score("questions, weights only", parameters["questions"], ask, lambda m: m)
        if "passages" in inputs:
            ground = _grounder(inputs["passages"], parameters["passages"])
            found["questions"]["documents"] = _score("questions, with sources", parameters["questions"], ask, ground)
    atomic_write(staging / "evaluation.json", json.dumps(found, indent=1).encode())


@imports("lamina.model.evaluate.answers", "lamina.deployment.compress.quantize")
def gather_evidence(
    staging: Path, work: Path, parameters: dict[str, Any], inputs: Mapping[str, Path], progress: Progress
) -> None:
    """Writes ``evidence.json``: both models on held-out feedback, on what earlier feedback taught, on documents."""
    rows = _held_out_rows(inputs["snapshot"])
    earlier = {r["feedback_id"] for r in _held_out_rows(inputs["earlier"])} if "earlier" in inputs else set()
    found: dict[str, dict[str, list[Any]]] = {
        name: {"champion": [], "challenger": [], "clusters": []} for name in ("feedback", "learned", "documents")
    }
    metrics: dict[str, float] = {}
    for side in ("champion", "challenger"):
        model, tokenizer = _open(Path(parameters["context"][side]))
        bits = _answer_bits(model, tokenizer, rows, progress, side)
        found["feedback"][side] = bits
        found["learned"][side] = [b for b, r in zip(bits, rows, strict=True) if r["feedback_id"] in earlier]
        if "corpus" in inputs:
            documents = held_out(inputs["corpus"], tokenizer, parameters["tokens"])
            found["documents"][side], total = _document_bits(model, tokenizer, [t for _, t in documents], progress)
            metrics["bits_per_byte"] = total  # the challenger's, which comes last
            found["documents"]["clusters"] = [id for id, _ in documents]
        del model
    found["feedback"]["clusters"] = [r["user"] for r in rows]
    found["learned"]["clusters"] = [r["user"] for r in rows if r["feedback_id"] in earlier]
    atomic_write(staging / "evidence.json", json.dumps(found | {"metrics": metrics}).encode())


def held_out(corpus: Path, tokenizer: ModelTokenizer, tokens: int) -> list[tuple[str, str]]:
    """Held-out documents as (id, text) in the order of their ids, which is random, until ``tokens`` are reached.

    Of a long document only the beginning is taken, so that one book chapter does not use up the whole budget.
    """
    rows: list[tuple[str, str]] = []
    for batch in record_batches(corpus, "held-out"):
        rows += zip(batch["id"].to_pylist(), batch["text"].to_pylist(), strict=True)
    chosen: list[tuple[str, str]] = []
    longest, spent = max(256, tokens // 8), 0
    for id, text in sorted(rows):
        if spent >= tokens:
            break
        ids = tokenizer.encode(text[: longest * 8])
        cut = ids[: min(longest, tokens - spent)]
        chosen.append((id, text if len(cut) == len(ids) and len(text) <= longest * 8 else tokenizer.decode(cut)))
        spent += len(cut)
    return chosen


def _open(folder: Path) -> tuple[Transformer, ModelTokenizer]:
    from lamina.deployment.compress.quantize import open_served
    from lamina.kit.tokenizer import open_tokenizer

    return open_served(folder), open_tokenizer(folder)


def _held_out_rows(snapshot: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    return [r for r in pq.read_table(snapshot / "sft.parquet").to_pylist() if r["split"] == "held-out"]


def _document_bits(
    model: Transformer, tokenizer: ModelTokenizer, texts: Sequence[str], progress: Progress
) -> tuple[list[float], float]:
    """Bits per byte of each document, and of all together."""
    from lamina.model.evaluate.bits_per_byte import bits_per_byte

    measured = bits_per_byte(model, tokenizer, texts, progress=progress)
    return [nats / _NATS / max(1, size) for nats, size in measured.per_document], measured.value


def _answer_bits(
    model: Transformer, tokenizer: ModelTokenizer, rows: Sequence[Mapping[str, Any]], progress: Progress, side: str
) -> list[float]:
    """Bits per byte of the wanted answer (its end token included), given the question."""
    from lamina.model.evaluate.answers import nll_of_completions

    pairs, sizes, bits = [], [], []
    for row in rows:
        prompt = [Message(m["role"], m["content"]) for m in row["prompt"]]
        completion = [Message(m["role"], m["content"]) for m in row["completion"]]
        asked = tokenizer.render(prompt, open_answer=True).ids
        whole = tokenizer.render([*prompt, *completion])
        learned = [i for i in range(len(asked), len(whole.ids)) if whole.learned[i]]
        pairs.append((asked, whole.ids[len(asked) : learned[-1] + 1] if learned else whole.ids[len(asked) :]))
        sizes.append(max(1, sum(len(m.content.encode()) for m in completion)))
    with progress.task(f"held-out feedback, {side}", total=len(rows), unit="answers") as task:
        for start in range(0, len(pairs), _TOGETHER):
            group = pairs[start : start + _TOGETHER]
            bits += [nats / _NATS for nats in nll_of_completions(model, tokenizer, group)]
            task.advance(len(group))
    return [b / size for b, size in zip(bits, sizes, strict=True)]


def _grounder(passages: Path, count: int) -> Callable[[tuple[Message, ...]], tuple[Message, ...]]:
    from lamina.interface.grounding.context import ground
    from lamina.interface.grounding.passages import PassageIndex

    index = PassageIndex(passages)
    return lambda messages: tuple(ground(messages, index, k=count)[0])


Ask = Callable[[str, Sequence[tuple[Message, ...]]], list[str]]


def _asker(model: Transformer, tokenizer: ModelTokenizer, system: str | None, progress: Progress, cache: Cache) -> Ask:
    from lamina.deployment.engine.engine import Engine

    def ask(name: str, conversations: Sequence[tuple[Message, ...]]) -> list[str]:
        options: dict[str, Any] = {"max_sequences": 8, "cache_mb": 128, "queue_tokens": 1 << 24}
        engine = Engine(model, tokenizer, version="evaluation", cache=cache, **options)
        done = threading.Semaphore(0)
        texts: list[list[str]] = [[] for _ in conversations]
        failures: list[LaminaError] = []

        def receiver(place: int) -> Callable[[Chunk | LaminaError], None]:
            def receive(chunk: Chunk | LaminaError) -> None:
                if isinstance(chunk, LaminaError):
                    failures.append(chunk)
                    done.release()
                    return
                texts[place].append(chunk.text)
                if chunk.finish_reason is not None:
                    done.release()

            return receive

        try:
            with progress.task(name, total=len(conversations), unit="questions") as task:
                for place, messages in enumerate(conversations):
                    opening = (Message("system", system), *messages) if system else messages
                    prompt = tokenizer.render(opening, open_answer=True).ids
                    sampling = SamplingParams(temperature=0, max_tokens=_ANSWER_TOKENS)
                    engine.submit(f"q{place}", prompt, sampling, receiver(place))
                for _ in conversations:
                    done.acquire()
                    task.advance(1)
        finally:
            engine.close()
        if failures:
            raise failures[0]
        return ["".join(parts).strip() for parts in texts]

    return ask


def _score(
    name: str,
    questions: Iterable[Mapping[str, Any]],
    ask: Ask,
    prepare: Callable[[tuple[Message, ...]], tuple[Message, ...]],
) -> dict[str, Any]:
    rows = list(questions)
    answers = ask(name, [prepare((Message("user", row["question"]),)) for row in rows])
    said = [
        {"question": row["question"], "answer": answer, "right": is_right(answer, row["answers"])}
        for row, answer in zip(rows, answers, strict=True)
    ]
    return {"right": sum(s["right"] for s in said), "asked": len(said), "said": said}


def is_right(answer: str, accepted: Sequence[str]) -> bool:
    """Whether one of the ``accepted`` answers stands in ``answer``, as words, whatever the case.

    >>> is_right("It is in Tanzania.", ["tanzania"]), is_right("Legend", ["leg"])
    (True, False)
    """
    return any(re.search(rf"(?<!\w){re.escape(a)}(?!\w)", answer, re.IGNORECASE) for a in accepted)
