"""The one run-time tokenizer: opened from a model folder, used by data, model, deployment and interface alike.

``tokenizer.json`` (Hugging Face tokenizers) gives ids; ``tokenizer_config.json``, ``chat_template.jinja``,
``generation_config.json``, ``config.json`` and ``special_tokens_map.json`` say which tokens control and how a
conversation is written. Text never becomes a control token: in a rendered conversation only what the template itself
writes does.

BPE, WordPiece and Unigram are all run. Byte-level BPE, and Unigram whose vocabulary has every byte, give any text back;
WordPiece as in BERT does not: case and accents (uncased), white space, and words with unknown characters are lost.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson
from tokenizers import Tokenizer as Backend

from lamina.contracts.chat import Message, Tool
from lamina.contracts.tokens import Rendered
from lamina.kit.conversation import Conversation, Span
from lamina.kit.errors import InputError, ModelFileError
from lamina.kit.template import ChatTemplate
from lamina.kit.token_bytes import ByteTable, StreamDecoder, WindowStream, byte_table
from lamina.kit.tokenizer_chunks import cuts_of
from lamina.kit.tokenizer_files import (
    Settings,
    byte_ids,
    check_vocabulary,
    continuation,
    read_settings,
    spaces_only_first,
    spelled,
    unk_id,
    with_control_tokens,
)
from lamina.kit.tokenizer_frame import Frame, Framed, read_frame
from lamina.kit.tool_rows import ToolForm

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

    def __init__(
        self, backend: str, settings: Settings, *, where: str = "tokenizer.json", folder: Path | None = None
    ) -> None:
        """``backend`` is the content of ``tokenizer.json``, ``folder`` where it lies. Raises ``ModelFileError``."""
        self.where = where
        self.folder = folder
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
        model = parsed["model"]
        self.kind: str = model.get("type", "BPE")
        self._unk = unk_id(model, settings, vocabulary)
        self._forbidden = self.control - {self._unk}
        # A BPE that only merges cannot make a control token out of text; the other kinds might.
        self._leaks = self.kind != "BPE" or bool(model.get("ignore_merges"))
        self._bytes = byte_ids(vocabulary) if self.kind == "Unigram" and model.get("byte_fallback") else None
        self._traps = spelled([*self._controls] if self._leaks else [], pieces=self._bytes is not None)
        self.cuts = cuts_of(parsed)
        self.prefixes = self._further is not self._backend  # a space is put in front of a text
        self._processor = parsed.get("post_processor")

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
        return self.special_id("bos_token")

    def special_id(self, role: str) -> int | None:
        """The id of the special token that the model's files give this role ("mask_token"); None where none has it."""
        return self.id_of(self._settings.names.get(role, ""))

    @property
    def unk_id(self) -> int | None:
        """The id of what the vocabulary has no token for; None where every text has its tokens."""
        return None if self._bytes is not None else self._unk

    @property
    def chats(self) -> bool:
        """Whether conversations can be written with it: WordPiece without a template loses line breaks and case."""
        return self.kind != "WordPiece" or self.chat_template is not None

    @property
    def document_ends(self) -> tuple[int, int]:
        """What a document begins after, and what it ends with: [CLS] and [SEP] where the model has them, else twice
        the separator, ``end_ids[0]``."""
        framed, names = self.frame.around(()).ids, self._settings.names
        first, last = (self.id_of(names.get(role, "")) for role in ("cls_token", "sep_token"))
        if first is not None and last is not None and framed[:1] == [first]:
            return first, last
        return self.end_ids[0], self.end_ids[0]

    @cached_property
    def frame(self) -> Frame:
        """What the model wants round a text or a pair. Raises ``ModelFileError`` where its file does not say."""
        return read_frame(self._processor, self.where)

    @cached_property
    def turn_end_id(self) -> int | None:
        """The control token that the chat template writes after an assistant's words."""
        return self._controls.get(self._conversation.turn_end or "")

    @cached_property
    def end_ids(self) -> tuple[int, ...]:
        """Document end first, then the turn's end and whatever else the model's files call an end."""
        eos = self.id_of(self._settings.names.get("eos_token", ""))
        named = [self._controls[name] for name in _DOCUMENT_ENDS if name in self._controls]
        ends = [*named[:1], *(end for end in (self.turn_end_id, eos) if end is not None)]
        declared = [i for i in self._settings.end_ids if 0 <= i < self._vocabulary]
        return tuple(dict.fromkeys([*ends, *declared]))

    def id_of(self, token: str) -> int | None:
        """The id of a token given by its exact form, control tokens included."""
        found = self._backend.token_to_id(token) if token else None
        return None if found is None else int(found)

    def token_of(self, token_id: int) -> str | None:
        """The token's form in the vocabulary (``Ġthe``), for people who look inside."""
        return self._backend.id_to_token(token_id) if 0 <= token_id < self._vocabulary else None

    @property
    def pieces(self) -> list[bytes] | None:
        """The bytes of each token behind another one, control tokens none; None where they cannot be told apart."""
        return None if self._table is None else self._table.pieces

    def encode(self, text: str) -> list[int]:
        """Ids of ordinary text; no id of ``control`` ever, and no BOS or EOS around it."""
        return self._encode(self._backend, text)

    def encode_batch(self, texts: Sequence[str], *, further: bool = False) -> list[list[int]]:
        """``encode`` of each text, on all cores; ``further``: they go on after other text (no space in front)."""
        backend = self._further if further else self._backend
        clean = [_unicode(text) for text in texts]
        ids = [e.ids for e in backend.encode_batch_fast(clean, add_special_tokens=False)]
        if self._traps is None:
            return ids
        odd = [
            bool(self._traps.search(t)) or not self._forbidden.isdisjoint(i) for t, i in zip(clean, ids, strict=True)
        ]
        return [self._encode(backend, t) if o else i for o, t, i in zip(odd, clean, ids, strict=True)]

    def framed(self, text: str, other: str | None = None) -> Framed:
        """A text, or a pair, with the special tokens that the model wants round it ([CLS] … [SEP])."""
        return self.frame.around(self.encode(text), None if other is None else self.encode(other))

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ``ids`` without control tokens; what is no character becomes U+FFFD."""
        if self._table is not None:
            return self._table.decode(ids)
        return self._slow_decode(ids)

    def stream(self) -> StreamDecoder:
        """A decoder for one answer, token by token."""
        return self._table.stream() if self._table is not None else WindowStream(self._slow_decode)

    @property
    def tool_form(self) -> ToolForm | None:
        """How the chat template has calls of tools written; None where it has no place for tools."""
        return self._conversation.tool_form

    def render(self, messages: Sequence[Message], *, open_answer: bool = False, tools: Sequence[Tool] = ()) -> Rendered:
        """The conversation by the chat template; ``learned`` covers each assistant turn and its end token.

        Raises ``InputError`` where the template refuses the conversation, ``ModelFileError`` where it is at fault.
        """
        if not self.chats:
            raise InputError(
                "WordPiece without a chat template holds no conversation: line breaks and case are lost",
                where=self.where,
                hint="a model that chats needs BPE or Unigram",
            )
        ids: list[int] = []
        learned: list[bool] = []
        for span in self._conversation.spans(messages, open_answer=open_answer, tools=tools):
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
        if self._traps is not None and self._traps.search(clean):
            ids = self._around_traps(backend, clean, self._traps)
        else:
            ids = backend.encode(clean, add_special_tokens=False).ids
        if not self._leaks or self._forbidden.isdisjoint(ids):
            return ids
        return [i for i in ids if i not in self._forbidden]  # a normalizer wrote one

    def _around_traps(self, backend: Backend, text: str, traps: re.Pattern[str]) -> list[int]:
        """Ids of a text that spells tokens which this kind of model knows as words: each is cut inside.

        "▁" itself, which would come back as a space, is written in bytes where there are tokens for them.
        """
        ids: list[int] = []
        begin = 0
        for match in traps.finditer(text):
            spaces = match[0][0] == "▁" and self._bytes is not None
            end = match.start() + (not spaces)
            ids += self._part(backend, text, begin, end)
            begin = end
            if spaces and self._bytes is not None:
                ids += [self._bytes[byte] for byte in match[0].encode()]
                begin = match.end()
        return ids + self._part(backend, text, begin, len(text))

    def _part(self, backend: Backend, text: str, begin: int, end: int) -> list[int]:
        return list((self._further if begin else backend).encode(text[begin:end], add_special_tokens=False).ids)


def open_tokenizer(folder: Path) -> ModelTokenizer:
    """The tokenizer of a model folder. Raises ``ModelFileError`` naming the file."""
    place = Path(folder) / "tokenizer.json"
    try:
        text = place.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ModelFileError("the folder has no tokenizer.json", where=str(folder)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ModelFileError(f"cannot be read: {error}", where=str(place)) from error
    return ModelTokenizer(text, read_settings(Path(folder)), where=str(place), folder=Path(folder))


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
