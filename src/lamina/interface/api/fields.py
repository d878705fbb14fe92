"""What every request's fields share: strict types, and texts that are texts."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict


class Fields(BaseModel):
    """Of OpenAI's routes: what is not known is kept aside."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False, protected_namespaces=())


def _utf8(value: Any) -> Any:
    if isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
        raise ValueError("not valid Unicode text (a lone surrogate)")
    return value


Text = Annotated[str, AfterValidator(_utf8)]
