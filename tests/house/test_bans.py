"""What must not stand anywhere in the package, found in the syntax tree."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "src").rglob("*.py"))
MODULES = {"pickle", "dill", "marshal", "shelve", "joblib", "multiprocessing"}
CALLS = {"eval", "exec", "torch.load", "torch.save", "os.system", "yaml.load", "tempfile.mktemp"}


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def foreign(node: ast.AST) -> str:
    """What is wrong with ``node``; "" if nothing."""
    if isinstance(node, ast.Import):
        return ", ".join({a.name.split(".")[0] for a in node.names} & MODULES)
    if isinstance(node, ast.ImportFrom):
        return (node.module or "") if (node.module or "").split(".")[0] in MODULES else ""
    if isinstance(node, ast.Call):
        if dotted(node.func) in CALLS:
            return dotted(node.func)
        for keyword in node.keywords:
            shell = keyword.arg in {"shell", "allow_pickle", "trust_remote_code"}
            if shell and isinstance(keyword.value, ast.Constant) and keyword.value.value:
                return str(keyword.arg)
    return ""


def test_nothing_that_runs_foreign_code() -> None:
    found = [
        f"{file}:{getattr(node, 'lineno', 0)} {wrong}"
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text()))
        if (wrong := foreign(node))
    ]
    assert not found, "\n".join(found)


def test_constraints_pin_everything_without_local_versions() -> None:
    lines = (ROOT / "constraints.txt").read_text().split()
    assert "torch==2.13.0" in lines
    for line in lines:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!]+", line), line


def test_every_extra_that_an_error_names_is_there_and_so_are_its_packages() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    pinned = {line.split("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().split()}
    for file in FILES:
        for module, extra in re.findall(r"require\(\s*\"([\w.]+)\",\s*extra=\"(\w+)\"", file.read_text()):
            assert extra in extras, f"{file}: {module}"
            names = {re.split(r"[\[<>=]", package)[0] for package in extras[extra]}
            assert names <= pinned
            assert names <= {re.split(r"[\[<>=]", package)[0] for package in extras["dev"]}, "tested where the rest is"


def test_the_lock_file_of_the_web_page_names_no_address() -> None:
    assert "://" not in re.sub(r'"(url|funding)": "[^"]*"', "", (ROOT / "web" / "package-lock.json").read_text())
