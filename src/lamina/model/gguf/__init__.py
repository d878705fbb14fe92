"""GGUF files (llama.cpp's format) as Hugging Face model folders, and back.

Every quantisation that the ``gguf`` package can expand is read; the weights come out as plain floats, exactly the
values that the file stands for. llama.cpp stores the query and key rows of Llama models in another order (its rotary
embedding is interleaved, that of the Hugging Face files rotate-half); the order is undone here, and made again when a
file is written.
"""

from __future__ import annotations

from lamina.model.gguf.convert import Imported, import_gguf
from lamina.model.gguf.export import KINDS, Exported, Kind, export_gguf

__all__ = ["KINDS", "Exported", "Imported", "Kind", "export_gguf", "import_gguf"]
