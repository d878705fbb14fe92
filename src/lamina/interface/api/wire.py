"""OpenAI's shapes: chunks of a stream and whole objects, of chats and of completions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lamina.contracts.inference import Chunk, Passage, TokenLogprob, Usage
from lamina.interface.api.tool_calls import Call, Pieces, ToolCalls


@dataclass(slots=True)
class Choice:
    """One answer as it grows."""

    index: int
    text: list[str] = field(default_factory=list)  # what the model wrote
    content: list[str] = field(default_factory=list)  # of it, what is no call of a tool
    tools: ToolCalls | None = None
    logprobs: list[TokenLogprob] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    last: Chunk | None = None
    version: str = ""
    opened: bool = False

    @property
    def answer(self) -> str:
        """The text so far."""
        return "".join(self.text)

    @property
    def finish_reason(self) -> str | None:
        """How it ended, as OpenAI says it."""
        reason = self.last.finish_reason if self.last else None
        if reason == "stop" and self.tools is not None and self.tools.calls:
            return "tool_calls"
        return "length" if reason == "deadline" else reason  # OpenAI has no word for it

    def parsed(self, text: str, *, last: bool) -> Pieces:
        """``text`` as content and calls of tools; ``last``: nothing follows."""
        pieces = Pieces(text=text)
        if self.tools is not None:
            pieces = self.tools.push(text)
            pieces.text += self.tools.finish().text if last else ""
        if pieces.text:
            self.content.append(pieces.text)
        return pieces


def sources_of(passages: Sequence[Passage]) -> list[dict[str, Any]]:
    """Passages as the ``sources`` of an answer, numbered from 1."""
    return [
        {
            "number": number,
            "kind": p.kind,
            "document_id": p.document_id,
            "title": p.title if p.kind == "document" else p.question,
            "url": p.url,
            "source": p.source,
            "license": p.license,
            "passage": p.text,
            "start": p.start,
            "score": round(p.score, 4),
        }
        for number, p in enumerate(passages, start=1)
    ]


def usage_of(usages: Sequence[Usage], prompts: int) -> dict[str, Any]:
    """Token counts; the choices of one prompt count it once."""
    each = len(usages) // prompts or 1
    prompt = sum(u.prompt_tokens for u in usages[::each])
    completion = sum(u.completion_tokens for u in usages)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": sum(u.cached_tokens for u in usages[::each])},
    }


class Wire(ABC):
    """What both kinds share. ``extras`` go on the first chunk, or on the whole object; ``adapter``: its name."""

    chunk_object = ""
    whole_object = ""

    def __init__(
        self, id: str, created: int, revision: str, extras: Mapping[str, Any], *, usage: bool, adapter: str = ""
    ) -> None:
        self.id = id
        self._created = created
        self._revision = revision
        self._extras = dict(extras)
        self._usage = usage
        self._adapter = adapter

    def _head(self, kind: str, version: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self._created,
            "model": self._adapter or version,
            "system_fingerprint": f"{self._revision}-{version}",
        }

    def chunk(self, version: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        """One chunk of a stream; the first that is made carries the extras."""
        data = self._head(self.chunk_object, version)
        data["choices"] = choices
        if self._usage:
            data["usage"] = None
        if self._extras:
            data |= self._extras
            self._extras = {}
        return data

    def usage_chunk(self, version: str, usage: Mapping[str, Any]) -> dict[str, Any]:
        """The chunk before ``[DONE]``, sent only when it was asked for."""
        return self._head(self.chunk_object, version) | {"choices": [], "usage": usage}

    def whole(self, choices: Sequence[Choice], usage: Mapping[str, Any]) -> dict[str, Any]:
        """The complete object."""
        head = self._head(self.whole_object, choices[0].version)
        return head | {"choices": [self.complete(c) for c in choices], "usage": usage} | self._extras

    @abstractmethod
    def opening(self, index: int) -> dict[str, Any] | None:
        """The choice that opens a stream, where the kind has one."""

    @abstractmethod
    def delta(self, choice: Choice, pieces: Pieces, logprobs: Sequence[TokenLogprob]) -> dict[str, Any]:
        """A piece of the answer."""

    @abstractmethod
    def final(self, choice: Choice) -> dict[str, Any]:
        """The choice that ends."""

    @abstractmethod
    def complete(self, choice: Choice) -> dict[str, Any]:
        """The choice in a whole object."""


class ChatWire(Wire):
    """``chat.completion`` and ``chat.completion.chunk``."""

    chunk_object = "chat.completion.chunk"
    whole_object = "chat.completion"

    def opening(self, index: int) -> dict[str, Any]:
        """The assistant's turn begins."""
        return {"index": index, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}

    def delta(self, choice: Choice, pieces: Pieces, logprobs: Sequence[TokenLogprob]) -> dict[str, Any]:
        """A piece of the assistant's turn."""
        delta: dict[str, Any] = {"content": pieces.text} if pieces.text or not pieces else {}
        if pieces.calls or pieces.arguments:
            delta["tool_calls"] = [_begun(call) for call in pieces.calls] + [
                {"index": call.index, "function": {"arguments": text}} for call, text in pieces.arguments
            ]
        return {
            "index": choice.index,
            "delta": delta,
            "logprobs": _chat_logprobs(logprobs),
            "finish_reason": None,
        }

    def final(self, choice: Choice) -> dict[str, Any]:
        """The assistant's turn ends."""
        return {"index": choice.index, "delta": {}, "logprobs": None, "finish_reason": choice.finish_reason}

    def complete(self, choice: Choice) -> dict[str, Any]:
        """The assistant's turn."""
        message: dict[str, Any] = {"role": "assistant", "content": "".join(choice.content), "refusal": None}
        if choice.tools is not None and choice.tools.calls:
            message["content"] = message["content"] or None
            message["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in choice.tools.calls
            ]
        return {
            "index": choice.index,
            "message": message,
            "logprobs": _chat_logprobs(choice.logprobs),
            "finish_reason": choice.finish_reason,
        }


class CompletionWire(Wire):
    """``text_completion``."""

    chunk_object = "text_completion"
    whole_object = "text_completion"

    def opening(self, index: int) -> None:
        """Completions have none."""
        return None

    def delta(self, choice: Choice, pieces: Pieces, logprobs: Sequence[TokenLogprob]) -> dict[str, Any]:
        """A piece of text."""
        offset = sum(map(len, choice.text)) - len(pieces.text)
        return {
            "index": choice.index,
            "text": pieces.text,
            "logprobs": _text_logprobs(logprobs, offset),
            "finish_reason": None,
        }

    def final(self, choice: Choice) -> dict[str, Any]:
        """The end."""
        return {"index": choice.index, "text": "", "logprobs": None, "finish_reason": choice.finish_reason}

    def complete(self, choice: Choice) -> dict[str, Any]:
        """The text."""
        return {
            "index": choice.index,
            "text": choice.answer,
            "logprobs": _text_logprobs(choice.logprobs, 0),
            "finish_reason": choice.finish_reason,
        }


def _begun(call: Call) -> dict[str, Any]:
    function = {"name": call.name, "arguments": ""}
    return {"index": call.index, "id": call.id, "type": "function", "function": function}


def _chat_logprobs(logprobs: Sequence[TokenLogprob]) -> dict[str, Any] | None:
    if not logprobs:
        return None

    def entry(text: str, logprob: float, raw: bytes | None) -> dict[str, Any]:
        return {"token": text, "logprob": logprob, "bytes": list(text.encode() if raw is None else raw)}

    content = [entry(t.text, t.logprob, t.raw) | {"top_logprobs": [entry(*top) for top in t.top]} for t in logprobs]
    return {"content": content, "refusal": None}


def _text_logprobs(logprobs: Sequence[TokenLogprob], offset: int) -> dict[str, Any] | None:
    if not logprobs:
        return None
    offsets = []
    for token in logprobs:
        offsets.append(offset)
        offset += len(token.text)
    return {
        "tokens": [_spelled(t.text, t.raw) for t in logprobs],
        "token_logprobs": [t.logprob for t in logprobs],
        "top_logprobs": [{_spelled(top.text, top.raw): top.logprob for top in t.top} for t in logprobs],
        "text_offset": offsets,
    }


def _spelled(text: str, raw: bytes | None) -> str:
    """A token's text; its bytes in OpenAI's spelling where they are part of a character."""
    if raw is None or "\ufffd" not in text:
        return text
    return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)
