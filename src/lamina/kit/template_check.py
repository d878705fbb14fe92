"""What may stand in a chat template: a list of node types, filters, methods and functions. All else is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jinja2 import nodes

from lamina.kit.errors import ModelFileError

_NODES: tuple[type[nodes.Node], ...] = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.For, nodes.Assign, nodes.AssignBlock, nodes.Name,
    nodes.NSRef, nodes.Const, nodes.Getattr, nodes.Getitem, nodes.Slice, nodes.Filter, nodes.FilterBlock, nodes.Test,
    nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Add, nodes.Sub, nodes.Mul, nodes.Div,
    nodes.FloorDiv, nodes.Mod, nodes.Neg, nodes.Pos, nodes.Concat, nodes.CondExpr, nodes.List, nodes.Tuple, nodes.Dict,
    nodes.Pair, nodes.Keyword, nodes.Call, nodes.Macro, nodes.Continue, nodes.Break,
)  # fmt: skip
FILTERS = {
    "trim", "tojson", "length", "count", "upper", "lower", "capitalize", "title", "join", "default", "d", "list",
    "string", "int", "float", "first", "last", "items", "replace", "selectattr", "rejectattr", "select", "reject",
    "map", "safe", "reverse", "sort", "dictsort", "abs", "round", "unique", "min", "max", "sum",
}  # fmt: skip
METHODS = {
    "strip", "lstrip", "rstrip", "split", "rsplit", "startswith", "endswith", "upper", "lower", "title", "capitalize",
    "replace", "items", "keys", "values", "get", "join", "removeprefix", "removesuffix", "find", "splitlines",
    "isdigit",
}  # fmt: skip
CALLS = {"raise_exception", "namespace", "range", "dict"}


def check(tree: nodes.Template, where: str) -> None:
    """Walk the syntax tree: only what is listed above may stand in it."""
    macros = {node.name for node in tree.find_all(nodes.Macro)}
    for node in _walk(tree):
        reason = _reason(node, macros)
        if reason:
            raise ModelFileError(f"the chat template {reason}", where=f"{where}:{node.lineno}")
    for macro in tree.find_all(nodes.Macro):
        inside = {c.node.name for c in macro.find_all(nodes.Call) if isinstance(c.node, nodes.Name)}
        known = {m.name for m in tree.find_all(nodes.Macro) if m.lineno < macro.lineno}
        if inside & macros - known:
            raise ModelFileError("the chat template has a macro that calls itself", where=f"{where}:{macro.lineno}")


def _walk(node: nodes.Node) -> Iterator[nodes.Node]:
    waiting = [node]
    while waiting:
        standing = waiting.pop()
        yield standing
        waiting.extend(standing.iter_child_nodes())


def _reason(node: nodes.Node, macros: set[str]) -> str | None:
    """Why this node may not stand in a template, or None."""
    if not isinstance(node, _NODES):
        return f"uses {type(node).__name__}, which is not allowed"
    if isinstance(node, nodes.Filter | nodes.FilterBlock):
        name = node.name if isinstance(node, nodes.Filter) else node.filter.name
        return None if name in FILTERS else f"uses the filter '{name}', which is not allowed"
    if isinstance(node, nodes.For) and node.recursive:
        return "uses a recursive loop, which is not allowed"
    hidden = _hidden(node)
    if hidden:
        return f"looks up '{hidden}'; names with an underscore in front are not allowed"
    if isinstance(node, nodes.Call):
        return _call_reason(node, macros)
    return None


def _hidden(node: nodes.Node) -> str | None:
    name: Any = None
    if isinstance(node, nodes.Getattr):
        name = node.attr
    elif isinstance(node, nodes.Name):
        name = node.name
    elif isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        name = node.arg.value
    elif isinstance(node, nodes.Const):
        name = node.value if isinstance(node.value, str) and node.value.startswith("__") else None
    return name if isinstance(name, str) and name.startswith("_") else None


def _call_reason(node: nodes.Call, macros: set[str]) -> str | None:
    if node.dyn_args is not None or node.dyn_kwargs is not None:
        return "calls with * or **, which is not allowed"
    if isinstance(node.node, nodes.Name):
        name = node.node.name
        return None if name in CALLS or name in macros else f"calls '{name}', which is not allowed"
    if isinstance(node.node, nodes.Getattr):
        return None if node.node.attr in METHODS else f"calls the method '{node.node.attr}', which is not allowed"
    return "calls something without a name, which is not allowed"
