"""GGUF files (llama.cpp's format) as Hugging Face model folders, and back.

Every quantisation that the ``gguf`` package can expand is read; the weights come out as plain floats, exactly the
values that the file stands for. Llama, Qwen 2 and 3, Gemma 3, SmolLM3 and GPT-2 are read and written: ``forms`` says
how each is written down.
"""

from __future__ import annotations

from lamina.model.gguf.convert import Imported, import_gguf
from lamina.model.gguf.export import KINDS, Blocks, Exported, Kind, export_gguf

__all__ = ["KINDS", "Blocks", "Exported", "Imported", "Kind", "export_gguf", "import_gguf"]
