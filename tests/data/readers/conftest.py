"""Builders of Office documents for the tests of their readers."""

from __future__ import annotations

import importlib.util
from pathlib import Path

_spec = importlib.util.spec_from_file_location("office_files", Path(__file__).parents[1] / "office_files.py")
assert _spec is not None
assert _spec.loader is not None
_office = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_office)
make_zip, make_docx, make_xlsx = _office.make_zip, _office.make_docx, _office.make_xlsx
