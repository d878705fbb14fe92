"""Importing the package is cheap, and loads neither torch nor a web framework."""

from __future__ import annotations

import subprocess
import sys


def loaded(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(' '.join(sorted({{m.split('.')[0] for m in sys.modules}})))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_importing_lamina_loads_no_framework() -> None:
    assert not loaded("import lamina") & {"torch", "fastapi", "polars", "numpy", "rich"}


def test_the_command_line_loads_no_framework() -> None:
    assert not loaded("import lamina.cli") & {"torch", "fastapi", "polars", "pyarrow", "numpy"}


def test_data_and_interface_never_load_torch() -> None:
    assert "torch" not in loaded("import lamina.data.pipeline, lamina.interface.api.app, lamina.kit.stages")


def test_serving_loads_nothing_that_only_training_needs() -> None:
    code = (
        "import sys, lamina.deployment.service; print({'torch.distributed.tensor', 'torch._dynamo'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
