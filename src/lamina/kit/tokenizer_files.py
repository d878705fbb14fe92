"""What a model folder says of its tokenizer, read with suspicion: vocabulary, control tokens, end ids, template."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import orjson

from lamina.kit.errors import ModelFileError

_MAX_CHARS = 256 * 1024 * 1024
_MAX_TOKENS = 2_000_000
_NAMED = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")
_CONTROL_LIKE = re.compile(r"<\|[^|\s]+\|>|<｜[^｜\s]+｜>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """``names``: special tokens by role (``eos_token``); ``end_ids``: what the model's files call an end."""

    names: Mapping[str, str] = field(default_factory=dict)
    end_ids: tuple[int, ...] = ()
    chat_template: str | None = None


def read_settings(folder: Path) -> Settings:
    """Read the small files beside ``tokenizer.json``; a missing one says nothing. Raises ``ModelFileError``."""
    config = read_json(folder / "tokenizer_config.json")
    names: dict[str, str] = {}
    for source in (read_json(folder / "special_tokens_map.json"), config):
        for role in _NAMED:
            value = source.get(role)
            text = value.get("content") if isinstance(value, dict) else value
            if isinstance(text, str):
                names[role] = text
    ends: list[int] = []
    for source in (read_json(folder / "generation_config.json"), read_json(folder / "config.json")):
        value = source.get("eos_token_id")
        ends += [i for i in (value if isinstance(value, list) else [value]) if isinstance(i, int)]
    return Settings(names=names, end_ids=tuple(dict.fromkeys(ends)), chat_template=_template(folder, config))


def _template(folder: Path, config: Mapping[str, Any]) -> str | None:
    file = folder / "chat_template.jinja"
    if file.exists():
        try:
            return file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ModelFileError(f"cannot be read: {error}", where=str(file)) from error
    value = config.get("chat_template")
    if isinstance(value, list):  # several, by name
        named = {t.get("name"): t.get("template") for t in value if isinstance(t, dict)}
        value = named.get("default")
    return value if isinstance(value, str) else None


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in ``path``; empty where there is no such file. Raises ``ModelFileError`` for anything else."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFileError(f"not readable as JSON: {error}", where=str(path)) from error
    if not isinstance(value, dict):
        raise ModelFileError("a JSON object is expected", where=str(path))
    return value


def check_vocabulary(text: str, where: str) -> dict[str, Any]:
    """Parse ``tokenizer.json`` and refuse what the library would take amiss: two tokens of one id, strange merges."""
    if len(text) > _MAX_CHARS:
        raise ModelFileError(f"{len(text)} characters are too many for a tokenizer (at most {_MAX_CHARS})", where=where)
    try:
        parsed = orjson.loads(text)
        model, added = parsed["model"], parsed.get("added_tokens") or []
        vocabulary = model.get("vocab", {})
        if isinstance(vocabulary, list):
            vocabulary = {str(piece): i for i, (piece, _) in enumerate(vocabulary)}
        if not all(isinstance(i, int) and i >= 0 for i in vocabulary.values()):
            raise ModelFileError("the vocabulary has an id that is not a number from 0 on", where=where)
        known = {**vocabulary, **{t["content"]: t["id"] for t in added}}
        merges = model.get("merges") or []
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelFileError(f"not a tokenizer.json: {error!r}", where=where) from error
    if len(known) > _MAX_TOKENS or len(merges) > _MAX_TOKENS:
        raise ModelFileError(f"more than {_MAX_TOKENS} tokens or merges", where=where)
    if max(known.values(), default=0) > 4 * len(known) + 4096:
        raise ModelFileError(f"an id of {max(known.values())} among {len(known)} tokens", where=where)
    _check_ids(vocabulary, added, where)
    _check_merges(vocabulary, merges, where)
    return dict(parsed)


def _check_ids(vocabulary: Mapping[str, int], added: list[dict[str, Any]], where: str) -> None:
    seen: dict[int, str] = {}
    for token, i in (*vocabulary.items(), *((t["content"], t["id"]) for t in added)):
        if seen.setdefault(i, token) != token:
            raise ModelFileError(f"the tokens {seen[i]!r} and {token!r} have the same id {i}", where=where)


def _check_merges(vocabulary: Mapping[str, int], merges: list[Any], where: str) -> None:
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in merges]
    for n, pair in enumerate(pairs):
        if not isinstance(pair, list) or len(pair) != 2:
            raise ModelFileError(f"merge {n} is not a pair: {str(merges[n])[:80]!r}", where=where)
    known = vocabulary.__contains__  # by C loops: a start waits for it
    if all(map(known, chain.from_iterable(pairs))) and all(map(known, map("".join, pairs))):
        return
    for n, pair in enumerate(pairs):
        for piece in (*pair, "".join(pair)):
            if piece not in vocabulary:
                raise ModelFileError(f"merge {n} ({pair[0]!r}, {pair[1]!r}) needs {piece!r}, no token", where=where)


def with_control_tokens(parsed: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """A copy in which every control token is marked special, whatever the file says of it.

    Control tokens are those marked so, the named ones (``eos_token``, …), the declared ends, and those that the chat
    template writes in the ``<|…|>`` form.
    """
    changed = copy.copy(dict(parsed))
    names = set(settings.names.values())
    template = settings.chat_template or ""
    tokens = []
    for token in parsed.get("added_tokens") or []:
        text = token["content"]
        shaped = bool(_CONTROL_LIKE.fullmatch(text)) and text in template
        control = token.get("special") or text in names or token["id"] in settings.end_ids or shaped
        tokens.append({**token, "special": bool(control)})
    changed["added_tokens"] = tokens
    return changed


def continuation(parsed: Mapping[str, Any]) -> dict[str, Any]:
    """A copy that adds no space in front: for a text that goes on after another."""
    changed = copy.deepcopy({k: v for k, v in parsed.items() if k not in {"model", "added_tokens"}})
    for step in _steps(changed.get("pre_tokenizer"), "pretokenizers"):
        if step.get("type") == "Metaspace":
            step["prepend_scheme"] = "never"
        if "add_prefix_space" in step:
            step["add_prefix_space"] = False
    normalizer = changed.get("normalizer")
    if isinstance(normalizer, dict) and normalizer.get("type") == "Prepend":
        changed["normalizer"] = None
    elif isinstance(normalizer, dict) and normalizer.get("type") == "Sequence":
        normalizer["normalizers"] = [n for n in normalizer["normalizers"] if n.get("type") != "Prepend"]
    return changed | {"model": parsed["model"], "added_tokens": parsed.get("added_tokens") or []}


def spaces_only_first(parsed: Mapping[str, Any]) -> bool:
    """Whether the space in front belongs to the very first piece only, not to each piece after a control token."""
    steps = _steps(parsed.get("pre_tokenizer"), "pretokenizers")
    return any(step.get("type") == "Metaspace" and step.get("prepend_scheme") == "first" for step in steps)


def unk_id(model: Mapping[str, Any], settings: Settings, vocabulary: Mapping[str, int]) -> int | None:
    """The id of what the vocabulary has no token for, where the files name one."""
    if isinstance(model.get("unk_id"), int):
        return int(model["unk_id"])
    return vocabulary.get(str(model.get("unk_token") or settings.names.get("unk_token") or ""))


def byte_ids(vocabulary: Mapping[str, int]) -> list[int] | None:
    """The ids of the 256 byte tokens, where all are there."""
    names = [f"<0x{byte:02X}>" for byte in range(256)]
    return [vocabulary[name] for name in names] if all(name in vocabulary for name in names) else None


def spelled(texts: Iterable[str], *, pieces: bool) -> re.Pattern[str] | None:
    """Any of ``texts``; with ``pieces`` also what SentencePiece's alphabet writes for spaces and bytes."""
    ordered = [re.escape(t) for t in sorted((t for t in texts if t), key=len, reverse=True)]
    ordered += ["▁+", "<0x[0-9A-Fa-f]{2}>"] if pieces else []
    return re.compile("|".join(ordered)) if ordered else None


def _steps(value: Any, key: str) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if value.get("type") == "Sequence":
            for step in value.get(key, []):
                yield from _steps(step, key)
        else:
            yield value
