"""Wire types of the routes for whole texts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from lamina.contracts.texts import Writing
from lamina.interface.api.fields import Text
from lamina.interface.api.schemas import MAX_SEED, ModelName, prompts

_MOST = 2048  # texts in one request, as OpenAI has it
_LANGUAGE = r"^[A-Za-z]{1,8}([-_][A-Za-z0-9]{1,8})*$"


def _texts(value: Any) -> Any:
    """A text is a list of one."""
    return [value] if isinstance(value, str) else value


def _inputs(value: Any) -> Any:
    """As prompts of completions; no text is empty."""
    rows = prompts(value)
    if any(isinstance(row, str) and not row.strip() for row in rows):
        raise ValueError("a text is empty")
    return rows


Texts = Annotated[list[Text], BeforeValidator(_texts), Field(min_length=1, max_length=_MOST)]


class EmbeddingsRequest(BaseModel):
    """``POST /v1/embeddings``. ``truncate``, beyond OpenAI: cut longer texts at their end instead of refusing them."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False, protected_namespaces=())

    input: Annotated[list[Text] | list[list[int]], BeforeValidator(_inputs), Field(max_length=_MOST)]
    model: ModelName = ""
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Field(ge=1)] | None = None
    truncate: bool | None = None
    user: Any = None


class TextsRequest(BaseModel):
    """``POST /v1/classify``, ``POST /v1/tag``."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    input: Texts
    model: ModelName = ""


class FillRequest(TextsRequest):
    """``POST /v1/fill-mask``: ``k`` words for each mask."""

    k: Annotated[int, Field(ge=1, le=100)] = 5


class SummaryRequest(TextsRequest):
    """``POST /v1/summarize``; what is not given is as the model's files say."""

    num_beams: Annotated[int, Field(ge=1, le=16)] | None = None
    length_penalty: Annotated[float, Field(ge=-5, le=5)] | None = None
    early_stopping: bool | Literal["never"] | None = None
    no_repeat_ngram_size: Annotated[int, Field(ge=0, le=32)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] = 0

    def writing(self) -> Writing:
        """As the rest of the house has it."""
        return Writing(**self.model_dump(exclude={"input", "model"}))


class TranslationRequest(SummaryRequest):
    """``POST /v1/translate``; the languages may be left out where the model knows one pair."""

    source: Annotated[str, Field(pattern=_LANGUAGE, max_length=35)] | None = None
    target: Annotated[str, Field(pattern=_LANGUAGE, max_length=35)] | None = None
