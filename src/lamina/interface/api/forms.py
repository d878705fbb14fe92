"""The form that an answer must have: OpenAI's ``response_format``, and vLLM's ``guided_`` fields."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import orjson
from pydantic import Field

from lamina.contracts.inference import Constraint
from lamina.interface.api.errors import ParameterError
from lamina.interface.api.fields import Fields

_ANY_OBJECT = '{"type":"object"}'
Source = Annotated[str, Field(min_length=1, max_length=65536)]


class JsonSchema(Fields):
    """The schema, and a name for it."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None


class ResponseFormat(Fields):
    """``response_format``."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class Forms(Fields):
    """The fields of a request that ask for a form; one of them at most."""

    response_format: ResponseFormat | None = None
    guided_json: dict[str, Any] | Source | None = None
    guided_regex: Source | None = None
    guided_choice: Annotated[list[Source], Field(min_length=1, max_length=1024)] | None = None
    guided_grammar: Source | None = None

    def constraint(self) -> Constraint | None:
        """What they ask for. Raises ``ParameterError`` where they contradict one another."""
        asked = [name for name in Forms.model_fields if getattr(self, name) is not None]
        if self.response_format is not None and self.response_format.type == "text":
            asked.remove("response_format")
        if len(asked) > 1:
            raise ParameterError(f"{asked[1]}: not beside {asked[0]}", param=asked[1])
        return self._made(asked[0]) if asked else None

    def _made(self, name: str) -> Constraint:
        if self.response_format is not None and name == "response_format":
            return Constraint("json", _schema(self.response_format), name)
        if name == "guided_json":
            given = self.guided_json
            return Constraint("json", given if isinstance(given, str) else written(given, name), name)
        if name == "guided_regex":
            return Constraint("regex", self.guided_regex or "", name)
        if name == "guided_choice":
            choices = " | ".join(json.dumps(choice) for choice in self.guided_choice or ())
            return Constraint("grammar", f"start: {choices}", name)
        return Constraint("grammar", self.guided_grammar or "", name)


def _schema(form: ResponseFormat) -> str:
    if form.type == "json_object":
        return _ANY_OBJECT
    if form.json_schema is None or form.json_schema.schema_ is None:
        param = "response_format.json_schema" + ("" if form.json_schema is None else ".schema")
        raise ParameterError(f"{param}: is missing", param=param)
    return written(form.json_schema.schema_, "response_format.json_schema.schema")


def written(value: Any, param: str) -> str:
    """``value`` as JSON. Raises ``ParameterError`` where it is nested too deeply."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        raise ParameterError(f"{param}: nested too deeply", param=param) from None
