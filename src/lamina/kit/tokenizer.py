"""The one run-time tokenizer: opened from a model folder, used by data, model, deployment and interface alike.

``tokenizer.json`` (Hugging Face tokenizers) gives ids; ``tokenizer_config.json``, ``chat_template.jinja``,
``generation_config.json``, ``config.json`` and ``special_tokens_map.json`` say which tokens control and how a
conversation is written. Text never becomes a control token: in a rendered conversation only what the template itself
writes does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
from tokenizers import Tokenizer as Backend

from lamina.contracts.chat import Message
from lamina.contracts.tokens import Rendered
from lamina.kit.conversation import Conversation, Span
from lamina.kit.errors import ModelFileError
from lamina.kit.template import ChatTemplate
from lamina.kit.token_bytes import ByteTable, StreamDecoder, WindowStream, byte_table
from lamina.kit.tokenizer_files import (
    Settings,
    check_vocabulary,
    continuation,
    read_settings,
    spaces_only_first,
    with_control_tokens,
)

#: Where a model has no chat template: roles in words, each turn closed by the end token where there is one.
PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message.role | capitalize }}: {{ message.content }}"
    "{% if message.role == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n\n' }}{% endfor %}"
    "{% if add_generation_prompt %}Assistant: {% endif %}"
)
#: Control tokens that close a document, by the names that models give them.
_DOCUMENT_ENDS = ("<|endoftext|>", "<|end_of_text|>", "<｜end▁of▁sentence｜>", "</s>", "<eos>", "[SEP]")


class ModelTokenizer:
    """``contracts.tokens.Tokenizer`` over a model's files; safe to use from several threads."""

    def __init__(self, backend: str, settings: Settings, *, where: str = "tokenizer.json") -> None:
        """``backend`` is the content of ``tokenizer.json``. Raises ``ModelFileError``."""
        self.where = where
        self._settings = settings
        parsed = check_vocabulary(backend, where)
        parsed = with_control_tokens(parsed, settings)
        further = continuation(parsed)
        self._backend = _build(parsed, where)
        self._further = self._backend if further == parsed else _build(further, where)
        self._only_first = spaces_only_first(parsed)
        vocabulary = self._backend.get_vocab(with_added_tokens=True)
        self._vocabulary = max(vocabulary.values(), default=-1) + 1
        added = self._backend.get_added_tokens_decoder()
        self.control: frozenset[int] = frozenset(i for i, token in added.items() if token.special)
        self._controls = {added[i].content: i for i in self.control}
        self._edges = {t.content: (t.lstrip, t.rstrip) for i, t in added.items() if i in self.control}
        # A BPE that only merges cannot make a control token out of text; the other kinds might.
        model = parsed["model"]
        self._leaks = model.get("type", "BPE") != "BPE" or bool(model.get("ignore_merges"))
        self._pattern = _any_of(self._controls)

    @property
    def vocabulary(self) -> int:
        """One more than the greatest id."""
        return self._vocabulary

    @property
    def chat_template(self) -> str | None:
        """The model's own chat template; None where it has none and ``PLAIN_TEMPLATE`` is used."""
        return self._settings.chat_template

    @property
    def bos_id(self) -> int | None:
        """The id that a text begins with, where the model wants one."""
        return self.id_of(self._settings.names.get("bos_token", ""))

    @cached_property
    def turn_end_id(self) -> int | None:
        """The control token that the chat template writes after an assistant's words."""
        return self._controls.get(self._conversation.turn_end or "")

    @cached_property
    def end_ids(self) -> tuple[int, ...]:
        """Document end first, then the turn's end and whatever else the model's files call an end."""
        eos = self.id_of(self._settings.names.get("eos_token", ""))
        named = [self._controls[name] for name in _DOCUMENT_ENDS if name in self._controls]
        ends = [
            *named[:1],
            *([self.turn_end_id] if self.turn_end_id is not None else []),
            *([] if eos is None else [eos]),
        ]
        declared = [i for i in self._settings.end_ids if 0 <= i < self._vocabulary]
        return tuple(dict.fromkeys([*ends, *declared]))

    def id_of(self, token: str) -> int | None:
        """The id of a token given by its exact form, control tokens included."""
        found = self._backend.token_to_id(token) if token else None
        return None if found is None else int(found)

    def token_of(self, token_id: int) -> str | None:
        """The token's form in the vocabulary (``Ġthe``), for people who look inside."""
        return self._backend.id_to_token(token_id) if 0 <= token_id < self._vocabulary else None

    def encode(self, text: str) -> list[int]:
        """Ids of ordinary text; no id of ``control`` ever, and no BOS or EOS around it."""
        return self._encode(self._backend, text)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """``encode`` of each text, on all cores."""
        clean = [_unicode(text) for text in texts]
        ids = [e.ids for e in self._backend.encode_batch_fast(clean, add_special_tokens=False)]
        if self._leaks:
            return [i if self.control.isdisjoint(i) else self.encode(t) for t, i in zip(clean, ids, strict=True)]
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ``ids`` without control tokens; what is no character becomes U+FFFD."""
        if self._table is not None:
            return self._table.decode(ids)
        return self._slow_decode(ids)

    def stream(self) -> StreamDecoder:
        """A decoder for one answer, token by token."""
        return self._table.stream() if self._table is not None else WindowStream(self._slow_decode)

    def render(self, messages: Sequence[Message], *, open_answer: bool = False) -> Rendered:
        """The conversation by the chat template; ``learned`` covers each assistant turn and its end token.

        Raises ``InputError`` where the template refuses the conversation, ``ModelFileError`` where it is at fault.
        """
        ids: list[int] = []
        learned: list[bool] = []
        for span in self._conversation.spans(messages, open_answer=open_answer):
            found = self._span_ids(span, first=not ids)
            ids += found
            learned += [span.learned] * len(found)
        return Rendered(ids, learned)

    def render_text(self, messages: Sequence[Message], *, open_answer: bool = False) -> str:
        """What ``render`` makes ids of, as text."""
        return "".join(s.text for s in self._conversation.spans(messages, open_answer=open_answer))

    @cached_property
    def _conversation(self) -> Conversation:
        source = self._settings.chat_template
        template = ChatTemplate(PLAIN_TEMPLATE if source is None else source, where=f"{self.where}: chat template")
        return Conversation(template, self._settings.names, frozenset(self._controls), self._edges)

    @cached_property
    def _table(self) -> ByteTable | None:
        return byte_table(self._backend, self.control, self._vocabulary)

    def _slow_decode(self, ids: Sequence[int]) -> str:
        kept = [i for i in ids if 0 <= i < self._vocabulary]
        return str(self._backend.decode(kept, skip_special_tokens=True))

    def _span_ids(self, span: Span, *, first: bool) -> list[int]:
        if span.control:
            return [self._controls[span.text]]
        further = span.continues or (self._only_first and not first)
        return self._encode(self._further if further else self._backend, span.text)

    def _encode(self, backend: Backend, text: str) -> list[int]:
        clean = _unicode(text)
        ids: list[int] = backend.encode(clean, add_special_tokens=False).ids
        if not self._leaks or self.control.isdisjoint(ids) or self._pattern is None:
            return ids
        # The text spells a control token that this kind of model knows as a word: cut it inside.
        cuts = [0, *(m.start() + 1 for m in self._pattern.finditer(clean)), len(clean)]
        parts = [clean[a:b] for a, b in pairwise(cuts) if a < b]
        found = [
            i
            for n, part in enumerate(parts)
            for i in (self._further if n else backend).encode(part, add_special_tokens=False).ids
        ]
        return [i for i in found if i not in self.control]


def open_tokenizer(folder: Path) -> ModelTokenizer:
    """The tokenizer of a model folder. Raises ``ModelFileError`` naming the file."""
    place = Path(folder) / "tokenizer.json"
    try:
        text = place.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ModelFileError("the folder has no tokenizer.json", where=str(folder)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ModelFileError(f"cannot be read: {error}", where=str(place)) from error
    return ModelTokenizer(text, read_settings(Path(folder)), where=str(place))


def _build(parsed: Mapping[str, Any], where: str) -> Backend:
    try:
        backend = Backend.from_str(orjson.dumps(parsed).decode())
    except Exception as error:  # the library raises plain Exception
        raise ModelFileError(f"not a usable tokenizer: {error}", where=where) from error
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = True
    return backend


def _unicode(text: str) -> str:
    """The text with lone surrogates, which are no characters, replaced by U+FFFD."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _any_of(texts: Iterable[str]) -> re.Pattern[str] | None:
    ordered = sorted((t for t in texts if t), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, ordered))) if ordered else None
