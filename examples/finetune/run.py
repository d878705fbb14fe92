"""SmolLM2 taught by instructions, by preferences between answers (DPO), and by judged answers (KTO).

`python examples/finetune/run.py [instruct] [dpo] [kto]`: fetches LLaMA-Factory's source package (Apache-2.0) for its
demonstration data (999 instructions, 300 pairs, 300 judged answers) and trains the stack files beside this one. The
package is unpacked and its JSON read; pip asks it for its metadata, no other
code of it runs.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lamina.kit.durable import sha256_file
from lamina.kit.errors import InputError
from lamina.recipes.up import bring_up

HERE = Path(__file__).resolve().parent
STATE = HERE / ".lamina"
PACKAGE = "llamafactory-0.9.5.tar.gz"
PIP = ("pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "--no-build-isolation", "llamafactory==0.9.5")
SHA256 = "1702c0bfb864e80577a59521d2edcacd2aab05ec6aee06188fcba335a589681f"


def main() -> None:
    """Fetch, write, train what is named (default: all three)."""
    package = STATE / PACKAGE
    if not package.is_file():
        STATE.mkdir(exist_ok=True)
        subprocess.run([sys.executable, "-m", *PIP, "-d", str(STATE)], check=True)
    if sha256_file(package) != SHA256:
        raise InputError("is not the package that this example was written for", where=str(package))
    lines = [
        f"{row['instruction']}\n{row['input']}".strip() + f"\n\n{row['output']}" for row in read(package, "alpaca")
    ]
    write("instructions", ({"text": text} for text in lines))
    write("dpo", map(pair, read(package, "dpo")))
    write("kto", map(judged, read(package, "kto")))
    for name in sys.argv[1:] or ("instruct", "dpo", "kto"):
        bring_up(HERE / f"{name}.toml", [], places=[], serve=False, json=False)


def read(package: Path, name: str) -> list[dict[str, Any]]:
    """One of the package's files of rows."""
    inside = f"{PACKAGE.removesuffix('.tar.gz')}/data/{name}_en_demo.json"
    with tarfile.open(package) as archive:
        file = archive.extractfile(inside)
        if file is None:
            raise InputError("is not in the package", where=inside)
        rows: list[dict[str, Any]] = json.load(file)
    return rows


def write(name: str, rows: Iterable[dict[str, Any]]) -> None:
    """As JSON Lines in the state folder."""
    (STATE / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def turn(said: dict[str, str]) -> dict[str, str]:
    """ShareGPT's form of a turn to the usual one."""
    return {"role": {"human": "user", "gpt": "assistant"}.get(said["from"], said["from"]), "content": said["value"]}


def pair(row: dict[str, Any]) -> dict[str, Any]:
    """A row for DPO."""
    prompt = [turn(said) for said in row["conversations"]]
    return {"prompt": prompt, "chosen": [turn(row["chosen"])], "rejected": [turn(row["rejected"])]}


def judged(row: dict[str, Any]) -> dict[str, Any]:
    """A row for KTO."""
    return {"prompt": row["messages"][:-1], "completion": row["messages"][-1:], "label": row["label"]}


if __name__ == "__main__":
    main()
