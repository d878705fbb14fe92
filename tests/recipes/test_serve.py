"""What a stack file says reaches the API."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamina.kit.errors import ConfigError
from lamina.recipes.serve import _settings
from lamina.recipes.stack import open_stack


def test_whether_keys_have_caches_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "lamina.toml"
    file.write_text('name = "x"\n[model]\nbase = "b"\n')
    assert not _settings(open_stack(file)).caches_apart
    assert _settings(open_stack(file, ['deployment.prefix_cache="per key"'])).caches_apart
    with pytest.raises(ConfigError, match="prefix_cache"):
        open_stack(file, ['deployment.prefix_cache="apart"'])
