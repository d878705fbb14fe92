from __future__ import annotations

from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from lamina.kit.errors import ModelFileError
from lamina.kit.tokenizer import ModelTokenizer
from lamina.kit.tokenizer_files import Settings
from lamina.kit.tokenizer_frame import read_frame

VOCABULARY = {t: i for i, t in enumerate(["[CLS]", "[SEP]", "<s>", "</s>", "whale", "ship", "a"])}
TEMPLATE = processors.TemplateProcessing(
    single="[CLS] $A [SEP]",
    pair="[CLS] $A [SEP] $B:1 [SEP]:1 [SEP]:1",
    special_tokens=[("[CLS]", 0), ("[SEP]", 1)],
)
PROCESSORS: list[Any] = [
    None,
    processors.BertProcessing(("[SEP]", 1), ("[CLS]", 0)),
    processors.RobertaProcessing(("</s>", 3), ("<s>", 2)),
    TEMPLATE,
    processors.Sequence([processors.ByteLevel(trim_offsets=True), TEMPLATE]),
    processors.ByteLevel(trim_offsets=True),
    processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 3)]),
]


@pytest.mark.parametrize("processor", PROCESSORS, ids=lambda p: type(p).__name__)
def test_frames_are_the_librarys(processor: Any) -> None:
    backend: Any = Tokenizer(models.WordLevel(VOCABULARY, unk_token="a"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.add_special_tokens(["[CLS]", "[SEP]", "<s>", "</s>"])
    if processor is not None:
        backend.post_processor = processor
    tokenizer = ModelTokenizer(backend.to_str(), Settings())
    one, two = backend.encode("whale ship"), backend.encode("whale", "ship ship")
    framed, pair = tokenizer.framed("whale ship"), tokenizer.framed("whale", "ship ship")
    assert (framed.ids, framed.kinds) == (one.ids, one.type_ids)
    assert pair.ids == two.ids
    if processor is not None and type(processor) is not processors.ByteLevel:  # else the library numbers texts itself
        assert pair.kinds == two.type_ids
    assert tokenizer.frame.size == len(one.ids) - 2


@pytest.mark.parametrize(
    "broken",
    [
        {"type": "BertProcessing", "sep": ["[SEP]"]},
        {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "x", "type_id": 0}}], "special_tokens": {}},
        {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "C", "type_id": 0}}], "special_tokens": {}},
        {"type": "Sequence", "processors": [{"type": "BertProcessing"}, {"type": "RobertaProcessing"}]},
        {"type": "Nonsense"},
    ],
)
def test_what_is_no_template_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(ModelFileError, match="not a usable template"):
        read_frame(broken, "tokenizer.json")
