"""A vocabulary cut to the tokens that a domain uses, and the model's tables with it.

Of a BPE everything stays that no merge makes (bytes, characters, control and added tokens), so that every text still
has its tokens and comes back the same. A token stays with those that it is merged from, so that a text whose tokens all
stay is encoded as before, number for number in their new order: the merges that lead to its tokens are all there, and
each was the first that applied.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lamina.deployment.compress.importance import check_plain
from lamina.deployment.compress.prune import with_stack
from lamina.kit.errors import InputError, ModelFileError
from lamina.model.layers.hollow import hollow
from lamina.model.transformer import Transformer

Ints = NDArray[np.int64]
_STEP = 64  # the size of the vocabulary is a multiple of it, where tokens to fill it up with are at hand
_TABLES = ("embeddings.token.weight", "head.weight", "head.bias")
_OF_IDS = "_token_id"  # keys of config.json and generation_config.json


def kept_tokens(folder: Path, used: Iterable[int], *, common: int = 0) -> Ints:
    """The ids that stay, ascending, of the BPE in ``folder``, a model's or a tokenizer's.

    They are those ``used``, what they are merged from, all that no merge makes, what config files name, and the first
    ``common`` tokens in the order of the merges, which is that of how frequent they were where the BPE was learned.
    Raises ``InputError`` for tokenizers of another kind, ``ModelFileError`` where the file is none.
    """
    parsed = _parsed(folder)
    vocabulary: dict[str, int] = parsed["model"]["vocab"]
    made = _made(parsed, vocabulary)
    added = [int(token["id"]) for token in parsed.get("added_tokens") or []]
    known = {*vocabulary.values(), *added}
    kept: set[int] = {i for i in vocabulary.values() if i not in made} | set(added)
    named = (i for file in ("config.json", "generation_config.json") for i in _named(_json(folder / file)))
    wanted = [i for i in (*used, *named) if i in known]
    for token in wanted:
        _keep(token, kept, made)
    for token in made:  # in the order of the merges
        if len(kept) >= common:
            break
        _keep(token, kept, made)
    _fill_up(kept, made)
    return np.asarray(sorted(kept), np.int64)


def prune_tokenizer(source: Path, folder: Path, kept: Ints) -> None:
    """Write the tokenizer of ``source`` with the tokens ``kept``, numbered anew in their order, and what else in the
    folder names ids, into ``folder``."""
    numbers = {int(old): new for new, old in enumerate(kept)}
    parsed = _parsed(source)
    model = parsed["model"]
    vocabulary = {text: numbers[i] for text, i in sorted(model["vocab"].items(), key=_id) if i in numbers}
    model["merges"] = [merge for merge in model["merges"] if "".join(_pair(merge)) in vocabulary]
    model["vocab"] = vocabulary
    for token in parsed.get("added_tokens") or []:
        token["id"] = numbers[token["id"]]
    if parsed.get("post_processor"):
        parsed["post_processor"] = _renumbered(parsed["post_processor"], numbers)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "tokenizer.json", parsed)
    settings = _json(source / "tokenizer_config.json")
    if settings:
        table = settings.get("added_tokens_decoder") or {}
        settings["added_tokens_decoder"] = {str(numbers[int(i)]): t for i, t in table.items() if int(i) in numbers}
        _write(folder / "tokenizer_config.json", settings)
    for name in ("config.json", "generation_config.json"):
        if config := _json(source / name):
            _write(folder / name, _with_ids(config, numbers))
    for name in ("special_tokens_map.json", "chat_template.jinja"):
        if (source / name).is_file():
            (folder / name).write_bytes((source / name).read_bytes())


@torch.no_grad()
def prune_vocabulary(model: Transformer, kept: Ints) -> Transformer:
    """``model`` with the rows ``kept`` of its token table and head, in eval mode; the rest of its weights is shared.

    The scores of the tokens that stay are the same. Raises ``InputError`` for an id that the model does not have.
    """
    check_plain(model)
    stack = model.spec.stack
    if len(kept) == 0 or int(kept[-1]) >= stack.embeddings.vocabulary:
        last = int(kept[-1]) if len(kept) else None
        raise InputError(f"no token {last} in a model of {stack.embeddings.vocabulary}", where="prune.vocabulary")
    embeddings = replace(stack.embeddings, vocabulary=len(kept))
    spec = with_stack(model.spec, replace(stack, embeddings=embeddings))
    with hollow():
        smaller = Transformer(spec)
    rows = torch.from_numpy(kept).to(model.stack.embeddings.token.weight.device)
    state = {
        name: tensor[rows] if name.endswith(_TABLES) else tensor
        for name, tensor in model.state_dict().items()
        if name not in model.aliases
    }
    smaller.load_state_dict(state, strict=False, assign=True)
    smaller.tie()
    return smaller.eval()


def _parsed(folder: Path) -> dict[str, Any]:
    parsed = _json(folder / "tokenizer.json")
    model = parsed.get("model")
    if not isinstance(model, dict) or model.get("type", "BPE") != "BPE" or not isinstance(model.get("vocab"), dict):
        raise InputError(
            "only the vocabulary of a BPE can be pruned",
            where=str(folder / "tokenizer.json"),
            hint="deployment.prune.vocabulary = false",
        )
    if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        raise InputError("a BPE with marks on its tokens cannot be pruned", where=str(folder / "tokenizer.json"))
    return parsed


def _json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as error:
        raise ModelFileError(f"not readable as a JSON object: {error}", where=str(path)) from error


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _id(entry: tuple[str, int]) -> int:
    return entry[1]


def _pair(merge: str | Sequence[str]) -> Sequence[str]:
    return merge.split(" ") if isinstance(merge, str) else merge


def _made(parsed: Mapping[str, Any], vocabulary: Mapping[str, int]) -> dict[int, set[int]]:
    """Of each token that merges make, in their order, the tokens that any of them makes it from."""
    made: dict[int, set[int]] = {}
    for merge in parsed["model"].get("merges") or []:
        left, right = _pair(merge)
        made.setdefault(vocabulary[left + right], set()).update((vocabulary[left], vocabulary[right]))
    return made


def _keep(token: int, kept: set[int], made: Mapping[int, Collection[int]]) -> None:
    """Add ``token`` and all that it comes from."""
    waiting = [token]
    while waiting:
        if (one := waiting.pop()) not in kept:
            kept.add(one)
            waiting.extend(made.get(one, ()))


def _fill_up(kept: set[int], made: Mapping[int, Collection[int]]) -> None:
    """Add the most frequent tokens whose parts are all there, up to a multiple of the step."""
    room = -len(kept) % _STEP
    candidates = (token for token, parts in made.items() if token not in kept and kept.issuperset(parts))
    for token in candidates:
        if not room:
            return
        kept.add(token)
        room -= 1


def _named(config: Mapping[str, Any]) -> Iterator[int]:
    """The token ids that a configuration names."""
    for key, value in config.items():
        if key.endswith(_OF_IDS):
            yield from (i for i in (value if isinstance(value, list) else [value]) if isinstance(i, int))


def _with_ids(config: Mapping[str, Any], numbers: Mapping[int, int]) -> dict[str, Any]:
    """``config`` with the new numbers of the ids that it names; one that is no token's stays away."""
    found = dict(config)
    for key, value in config.items():
        if key.endswith(_OF_IDS) and isinstance(value, list):
            found[key] = [numbers[i] for i in value if i in numbers]
        elif key.endswith(_OF_IDS) and isinstance(value, int):
            found[key] = numbers.get(value)
    return found


def _renumbered(step: Any, numbers: Mapping[int, int]) -> Any:
    """A post-processor with new ids: ``"ids": […]`` of templates, ``["[CLS]", 101]`` of BERT's and RoBERTa's."""
    if isinstance(step, list):
        return [_renumbered(one, numbers) for one in step]
    if not isinstance(step, dict):
        return step
    found: dict[str, Any] = {}
    for key, value in step.items():
        if key == "ids":
            found[key] = [numbers[i] for i in value]
        elif key in ("cls", "sep") and isinstance(value, list):
            found[key] = [value[0], numbers[value[1]]]
        else:
            found[key] = _renumbered(value, numbers)
    return found
