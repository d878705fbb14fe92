"""Chat templates (Jinja, as Hugging Face models carry them), run as foreign code: parsed, checked, bounded.

A template comes with a model's files, so it may be hostile. Only what ``template_check`` lists
compiles; no name with an underscore in front is ever looked up; the text and the number of loop rounds are capped.
``{% generation %}`` marks what an assistant says (Hugging Face's convention for masks).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, cast

from jinja2 import TemplateError, TemplateSyntaxError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from lamina.kit.errors import InputError, ModelFileError, TooLargeError
from lamina.kit.template_check import FILTERS, METHODS, check

#: Private-use characters around what a ``{% generation %}`` block writes.
START, END = "\U0010fff0", "\U0010fff1"
_TEMPLATE_CHARS = 256 * 1024
_ROUNDS = 200_000
_PRODUCT = 64 * 1024 * 1024  # characters that one replace or join may make: memory, not output, is at stake


class ChatTemplate:
    """A compiled template. Raises ``ModelFileError`` for one that may not run or cannot be parsed."""

    def __init__(self, source: str, *, where: str = "chat template") -> None:
        if len(source) > _TEMPLATE_CHARS:
            raise ModelFileError(
                f"the chat template has {len(source)} characters; at most {_TEMPLATE_CHARS}", where=where
            )
        self.source = source
        self.where = where
        self._environment = _Environment()
        try:
            tree = self._environment.parse(source)
            check(tree, where)
            self._template = self._environment.from_string(_bounded(tree))
        except (TemplateSyntaxError, RecursionError) as error:
            line = f":{error.lineno}" if isinstance(error, TemplateSyntaxError) else ""
            raise ModelFileError(f"the chat template cannot be parsed: {error}", where=where + line) from error
        self.marks = "generation" in source and START in _texts(tree)
        self.takes_tools = any(name.name == "tools" for name in tree.find_all(nodes.Name))

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        open_answer: bool,
        names: Mapping[str, str] | None = None,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> str:
        """The conversation as text; ``names`` are special tokens (``bos_token``, …), ``tools`` OpenAI's definitions.

        Raises ``InputError`` where the template refuses the conversation, ``TooLargeError`` over the caps.
        """
        size = sum(_size(message) for message in [*messages, *tools])
        budget = _Budget(chars=4 * size + 64 * 1024 + 1024 * len(messages))
        self._environment.budget.value = budget
        values: dict[str, Any] = {"messages": [dict(m) for m in messages], "add_generation_prompt": open_answer}
        values["tools"] = list(tools) or None
        pieces = []
        try:
            for piece in self._template.generate({**(names or {}), **values}):
                budget.text(piece)
                pieces.append(piece)
        except _TemplateRefusal as error:
            raise InputError(f"the chat template refuses this conversation: {error}", where=self.where) from error
        except (TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
            raise ModelFileError(f"the chat template fails: {error}", where=self.where) from error
        except (RecursionError, MemoryError, OverflowError) as error:
            raise ModelFileError("the chat template runs away", where=self.where) from error
        return "".join(pieces)


class _TemplateRefusal(Exception):
    """What a template's ``raise_exception`` says."""


class _Budget:
    """What one rendering may still write and loop."""

    def __init__(self, *, chars: int) -> None:
        self.limit = chars
        self.chars = chars
        self.rounds = _ROUNDS

    def text(self, piece: str) -> None:
        """Count what is written."""
        self.chars -= len(piece)
        if self.chars < 0:
            raise TooLargeError(f"the chat template writes more than {self.limit} characters for this conversation")

    def value(self, value: Any) -> Any:
        """Refuse an intermediate value that outgrows the whole output."""
        if isinstance(value, str | list | tuple) and len(value) > self.limit:
            raise TooLargeError(f"the chat template builds a value of {len(value)} parts; at most {self.limit}")
        return value

    def loop(self, items: Iterable[Any]) -> Iterator[Any]:
        """Count rounds over all loops together."""
        for item in items:
            self.rounds -= 1
            if self.rounds < 0:
                raise TooLargeError(f"the chat template loops more than {_ROUNDS} times")
            yield item


class _Holder(threading.local):
    """The budget of the rendering that runs in this thread."""

    value: _Budget


class _Environment(ImmutableSandboxedEnvironment):
    """Hugging Face's settings on Jinja's sandbox, with budgets."""

    intercepted_binops = frozenset(["+", "*", "%"])

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols], cache_size=0)
        self.budget = _Holder()
        self.globals = {
            "raise_exception": _raise_exception,
            **{n: self.globals[n] for n in ("namespace", "range", "dict")},
        }
        self.filters = {name: self.filters[name] for name in FILTERS}  # those that ``map`` may name, too
        self.filters |= {"tojson": _tojson, "replace": _replace, "join": _join}
        self.filters["_loop"] = lambda items: _Counted(items, self.budget.value)
        self.filters["_concat"] = lambda parts: self.budget.value.value("".join(map(str, parts)))
        self.filters["_keep"] = lambda value: self.budget.value.value(value)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """``+``, ``*`` and ``%`` with the size of the result known before it is built, where it could be large."""
        if operator == "*":
            for one, other in ((left, right), (right, left)):
                if isinstance(one, str | list | tuple) and isinstance(other, int) and len(one) * other > 65536:
                    raise TooLargeError("the chat template builds a value of more than 65536 parts")
            if isinstance(left, int) and isinstance(right, int) and left.bit_length() + right.bit_length() > 256:
                raise TooLargeError("the chat template computes with huge numbers")
        if operator == "%" and isinstance(left, str):
            raise TooLargeError("the chat template formats with %, which cannot be bounded")
        return self.budget.value.value(super().call_binop(context, operator, left, right))

    def call(self, context: Any, obj: Any, *args: Any, **kwargs: Any) -> Any:
        owner, name = getattr(obj, "__self__", None), getattr(obj, "__name__", "")
        if isinstance(owner, str) and name in {"replace", "join"}:
            obj = (lambda *a: _replace(owner, *a)) if name == "replace" else (lambda parts: _join(parts, owner))
        return self.budget.value.value(super().call(context, obj, *args, **kwargs))

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if attr.startswith("_") or (callable(value) and attr not in METHODS):
            return False
        return super().is_safe_attribute(obj, attr, value)


class _Counted:
    """A loop's items, counted; keeps the length where there is one, because ``loop.last`` and ``loop.length`` ask."""

    def __init__(self, items: Any, budget: _Budget) -> None:
        self._items = items if hasattr(items, "__len__") else list(budget.loop(items))
        self._budget = budget

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Any]:
        return self._budget.loop(self._items)


class _Generation(Extension):
    """``{% generation %}…{% endgeneration %}``: its body between two private-use characters."""

    tags = {"generation"}  # noqa: RUF012 (Jinja's interface)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        mark = [nodes.Output([nodes.TemplateData(c, lineno=line)], lineno=line) for c in (START, END)]
        return [mark[0], *body, mark[1]]


def _size(value: Any) -> int:
    """Characters that a value takes, written as JSON, or more."""
    if isinstance(value, Mapping):
        return sum(len(key) + _size(inner) + 8 for key, inner in value.items())
    if isinstance(value, list):
        return sum(_size(inner) + 4 for inner in value)
    return len(value) if isinstance(value, str) else 24


def _raise_exception(message: str = "") -> NoReturn:
    raise _TemplateRefusal(message)


def _replace(text: str, old: str, new: str, count: int | None = None) -> str:
    found = text.count(old) if count is None or count < 0 else min(text.count(old), count)
    if found * len(new) > _PRODUCT:
        raise TooLargeError(f"the chat template builds a value of {found * len(new)} characters; at most {_PRODUCT}")
    return text.replace(old, new, found)


def _join(parts: Iterable[Any], between: str = "", attribute: str | None = None) -> str:
    texts = [str(part if attribute is None else part[attribute]) for part in parts]
    total = sum(map(len, texts)) + len(texts) * len(between)
    if total > _PRODUCT:
        raise TooLargeError(f"the chat template builds a value of {total} characters; at most {_PRODUCT}")
    return between.join(texts)


def _tojson(value: Any, indent: int | None = None, **_: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=min(indent, 8) if indent else None)


def _bounded(tree: nodes.Template) -> nodes.Template:
    """Every loop counts its rounds, every ``~`` and growing filter watches its size."""

    def filtered(node: nodes.Node, name: str) -> nodes.Filter:
        return nodes.Filter(cast(nodes.Expr, node), name, [], [], None, None, lineno=node.lineno)

    def rewrite(node: nodes.Node) -> nodes.Node:
        for field, value in node.iter_fields():
            if isinstance(value, nodes.Node):
                setattr(node, field, rewrite(value))
            elif isinstance(value, list):
                value[:] = [rewrite(v) if isinstance(v, nodes.Node) else v for v in value]
        if isinstance(node, nodes.For):
            node.iter = filtered(node.iter, "_loop")
        if isinstance(node, nodes.Concat):
            return filtered(nodes.List(node.nodes, lineno=node.lineno), "_concat")
        if isinstance(node, nodes.Filter) and node.name in {"replace", "join", "list", "tojson"}:
            return filtered(node, "_keep")
        return node

    environment = tree.environment
    rewrite(tree)
    if environment is not None:
        tree.set_environment(environment)
    return tree


def _texts(tree: nodes.Template) -> str:
    return "".join(node.data for node in tree.find_all(nodes.TemplateData))
