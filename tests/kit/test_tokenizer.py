from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from lamina.contracts.chat import Message
from lamina.kit.errors import InputError, ModelFileError
from lamina.kit.tokenizer import ModelTokenizer, open_tokenizer

CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are helpful.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEXTS = [
    "Call me Ishmael. Some years ago, never mind how long.",
    "system user assistant You are helpful",
    "naïve 日本 🐳",
]


def byte_bpe(control: Sequence[str | AddedToken] = CONTROL) -> Tokenizer:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=list(control), initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(TEXTS * 20, trainer)
    return backend


def sentencepiece_bpe(scheme: str = "first") -> Tokenizer:
    pieces = [
        "<unk>",
        "<s>",
        "</s>",
        "<start_of_turn>",
        *(f"<0x{b:02X}>" for b in range(256)),
        "▁",
        *"abcdehilmorstuw.",
    ]
    merges = [("l", "o"), ("▁", "h"), ("▁h", "e"), ("l", "lo"), ("▁he", "llo")]
    vocab = {p: i for i, p in enumerate([*pieces, *("".join(m) for m in merges)])}
    backend = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)  # type: ignore[arg-type]
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.add_special_tokens(["<unk>", "<s>", "</s>", "<start_of_turn>"])
    return backend


def unigram() -> Tokenizer:
    pieces = [("<unk>", 0.0), ("</s>", 0.0), *((c, -5.0) for c in "▁abcdehilmorstu<>/.x"), ("▁he", -3.0)]
    backend = Tokenizer(models.Unigram(pieces, unk_id=0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    backend.add_special_tokens(["<unk>", "</s>"])
    return backend


def wordpiece() -> Tokenizer:
    backend = Tokenizer(models.WordPiece({t: i for i, t in enumerate(["[UNK]", "[SEP]", "he", "##llo", "you", "."])}))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.add_special_tokens(["[UNK]", "[SEP]"])
    return backend


def write(folder: Path, backend: Tokenizer, *, template: str | None = CHATML, **files: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
    config = {"eos_token": "<|im_end|>", "bos_token": {"content": "<|im_start|>"}, "chat_template": template}
    (folder / "tokenizer_config.json").write_text(json.dumps(files.pop("config", config)))
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    return folder


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> ModelTokenizer:
    folder = write(tmp_path_factory.mktemp("chat"), byte_bpe(), generation_config={"eos_token_id": [2, 0]})
    return open_tokenizer(folder)


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> ModelTokenizer:
    folder = tmp_path_factory.mktemp("pieces")
    return open_tokenizer(write(folder, sentencepiece_bpe(), template=None, config={"eos_token": "</s>"}))


def talk(*contents: str, system: str | None = None) -> list[Message]:
    roles = ("user", "assistant")
    turns = [Message(roles[i % 2], c) for i, c in enumerate(contents)]  # type: ignore[arg-type]
    return [Message("system", system), *turns] if system is not None else turns


def learned_text(tokenizer: ModelTokenizer, messages: list[Message]) -> str:
    rendered = tokenizer.render(messages)
    parts = [i for i, learned in zip(rendered.ids, rendered.learned, strict=True) if learned]
    return "".join(tokenizer.token_of(i) or "" if i in tokenizer.control else tokenizer.decode([i]) for i in parts)


def test_what_the_files_say(chat: ModelTokenizer) -> None:
    assert chat.end_ids == (0, 2)
    assert chat.turn_end_id == 2
    assert chat.bos_id == 1
    assert chat.id_of("<|im_end|>") == 2
    assert chat.token_of(2) == "<|im_end|>"
    assert chat.id_of("no such") is None
    assert chat.token_of(10**6) is None
    assert chat.vocabulary == chat.id_of(chat.token_of(chat.vocabulary - 1) or "") + 1  # type: ignore[operator]
    assert chat.chat_template == CHATML


@given(st.text())
@settings(max_examples=150, deadline=None)
def test_text_comes_back(chat: ModelTokenizer, text: str) -> None:
    ids = chat.encode(text)
    assert chat.control.isdisjoint(ids)
    assert chat.decode(ids) == text
    assert chat.encode_batch([text, "x"]) == [ids, chat.encode("x")]


@given(st.lists(st.sampled_from([*CONTROL, "a", " ", "<|", "im_end", "|>", "\n"]), max_size=12).map("".join))
@settings(max_examples=100, deadline=None)
def test_control_tokens_in_text_stay_text(chat: ModelTokenizer, text: str) -> None:
    assert chat.control.isdisjoint(chat.encode(text))
    assert chat.decode(chat.encode(text)) == text
    rendered = chat.render(talk(text, text))
    assert [i for i in rendered.ids if i in chat.control] == [1, 2, 1, 2, 1, 2]
    assert chat.decode(rendered.ids).count(text) >= 2


def test_a_lone_surrogate_becomes_a_replacement_character(chat: ModelTokenizer) -> None:
    assert chat.decode(chat.encode("a\ud800b")) == "a\ufffdb"


def test_rendering_is_what_transformers_gives(chat: ModelTokenizer, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_object=byte_bpe(), chat_template=CHATML)
    for messages in (talk("Hi"), talk("Hi\n", "Call me."), talk("a", "b", "naïve 🐳", system="Be brief.")):
        rows = [{"role": m.role, "content": m.content} for m in messages]
        for open_answer in (False, True):
            expected = theirs.apply_chat_template(rows, add_generation_prompt=open_answer, return_dict=False)
            assert chat.render(messages, open_answer=open_answer).ids == expected


def test_the_assistants_turns_are_learned_with_their_end(chat: ModelTokenizer) -> None:
    messages = talk("Hi", "Hello.", "<|im_end|>", "Bye <|im_end|> bye", system="Brief")
    assert learned_text(chat, messages) == "Hello.<|im_end|>Bye <|im_end|> bye<|im_end|>"
    prompt = chat.render(messages[:4], open_answer=True)
    assert not any(prompt.learned[-3:])
    whole = chat.render(messages)
    assert whole.ids[: len(prompt.ids)] == prompt.ids, "what is learned follows exactly what inference prompts with"
    assert whole.learned[len(prompt.ids)]
    assert not whole.learned[len(prompt.ids) - 1]


TEMPLATES = {
    "generation": "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}{% generation %}"
    "{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    "trimmed": "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content | trim + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "other header": "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content | trim + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>' }}{% endif %}",
    "needs a user": "{% for m in messages %}{% if loop.first and m.role != 'user' %}{{ raise_exception('user first') }}"
    "{% endif %}{{ '<|im_start|>' + m.role + '\n' + m.content | trim + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_learned_part_is_found_in_any_template(tmp_path: Path, name: str) -> None:
    tokenizer = open_tokenizer(write(tmp_path, byte_bpe(), template=TEMPLATES[name]))
    assert learned_text(tokenizer, talk("Hi", "Hello.", "And", "So.")) == "Hello.<|im_end|>So.<|im_end|>"


def test_a_refusal_of_the_template_is_the_inputs_fault(tmp_path: Path) -> None:
    tokenizer = open_tokenizer(write(tmp_path, byte_bpe(), template=TEMPLATES["needs a user"]))
    with pytest.raises(InputError, match="user first"):
        tokenizer.render(talk("Hi", system="x"))


def test_without_a_template_roles_are_words(pieces: ModelTokenizer) -> None:
    assert pieces.chat_template is None
    assert (
        pieces.render_text(talk("a", "b", "c"), open_answer=True)
        == "User: a\n\nAssistant: b</s>\n\nUser: c\n\nAssistant: "
    )
    rendered = pieces.render(talk("a", "b", "c"))
    assert rendered.ids.count(2) == 1
    assert rendered.learned[rendered.ids.index(2)]


def test_a_template_file_wins_over_the_config(tmp_path: Path) -> None:
    write(tmp_path, byte_bpe())
    (tmp_path / "chat_template.jinja").write_text("{{ messages[0].content }}")
    assert open_tokenizer(tmp_path).render_text(talk("only this")) == "only this"


def test_unmarked_control_tokens_are_control_all_the_same(tmp_path: Path) -> None:
    """Some models declare their end of turn as an ordinary added token."""
    plain = [AddedToken(t, special=False, normalized=False) for t in CONTROL]
    tokenizer = open_tokenizer(write(tmp_path, byte_bpe(plain)))
    assert {1, 2} <= tokenizer.control
    assert tokenizer.control.isdisjoint(tokenizer.encode("<|im_start|>system"))


def test_white_space_that_a_token_swallows(tmp_path: Path) -> None:
    edges = [CONTROL[0], AddedToken("<|im_start|>", rstrip=True, special=True), AddedToken("<|im_end|>", lstrip=True)]
    tokenizer = open_tokenizer(write(tmp_path, byte_bpe(edges)))
    backend = byte_bpe(edges)
    text = tokenizer.render_text(talk("Hi \n", "b"))
    plain = "<|im_start|>system\nYou are helpful.<|im_end|>\n<|im_start|>user\nHi \n<|im_end|>\n"
    plain += "<|im_start|>assistant\nb<|im_end|>\n"
    assert tokenizer.render(talk("Hi \n", "b")).ids == backend.encode(plain).ids
    assert text.count("<|im_end|>") == 3


@pytest.mark.parametrize("scheme", ["first", "always", "never"])
def test_sentencepiece_spaces_in_front(tmp_path: Path, scheme: str) -> None:
    template = "{% for m in messages %}<start_of_turn>{{ m.content }}</s>{% endfor %}"
    tokenizer = open_tokenizer(write(tmp_path, sentencepiece_bpe(scheme), template=template, config={}))
    (tmp_path / "chat_template.jinja").write_text(template)
    tokenizer = open_tokenizer(tmp_path)
    expected = sentencepiece_bpe(scheme).encode("<start_of_turn>hello</s>").ids
    assert tokenizer.render([Message("user", "hello")]).ids == expected


SAMPLES: list[Callable[[], Tokenizer]] = [byte_bpe, sentencepiece_bpe, unigram, wordpiece]


@pytest.mark.parametrize("make", SAMPLES)
@given(data=st.data())
@settings(max_examples=80, deadline=None)
def test_the_stream_gives_what_decode_gives(make: Callable[[], Tokenizer], data: st.DataObject) -> None:
    tokenizer = _opened(make)
    text = data.draw(st.text(alphabet=st.sampled_from("hello you. 日本🐳👩‍👧é\u0301\n<")))
    noise = st.lists(st.integers(-2, tokenizer.vocabulary + 3), max_size=12)
    ids = data.draw(st.one_of(st.just(tokenizer.encode(text)), noise))
    decoder = tokenizer.stream()
    parts = [decoder.push(i) for i in ids]
    assert "".join(parts) + decoder.finish() == tokenizer.decode(ids)


def _opened(make: Callable[[], Tokenizer], known: dict[str, ModelTokenizer] = {}) -> ModelTokenizer:  # noqa: B006
    from lamina.kit.tokenizer_files import Settings

    if make.__name__ not in known:
        known[make.__name__] = ModelTokenizer(make().to_str(), Settings())
    return known[make.__name__]


def test_no_half_characters(chat: ModelTokenizer, pieces: ModelTokenizer) -> None:
    for tokenizer in (chat, pieces):
        decoder = tokenizer.stream()
        parts = [decoder.push(i) for i in tokenizer.encode("a🐳b日")]
        assert all("\ufffd" not in part for part in parts)
        assert "".join(parts) == "a🐳b日"
        assert any(part == "" for part in parts), "a whale takes several tokens here"
        assert decoder.finish() == ""
        cut = tokenizer.stream()
        given = [cut.push(i) for i in tokenizer.encode("a🐳")[:-1]]
        assert "\ufffd" not in "".join(given)
        assert cut.finish() == "\ufffd"


@pytest.mark.parametrize("make", SAMPLES)
def test_decoding_is_the_librarys(make: Callable[[], Tokenizer]) -> None:
    tokenizer, theirs = _opened(make), make()
    for text in ("hello you.", "he he. 日本 é", "  two  spaces"):
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == theirs.decode(ids)


def test_a_unigram_model_does_not_leak_its_end_token() -> None:
    tokenizer = _opened(unigram)
    for text in ("hello</s>", "</s></s>", "</s", "x </s> x"):
        assert tokenizer.control.isdisjoint(set(tokenizer.encode(text)) - {0})
        assert tokenizer.id_of("</s>") not in tokenizer.encode_batch([text])[0]
    assert tokenizer.id_of("<") in tokenizer.encode("hello</s>")


def test_unknown_words_stay_in_their_place() -> None:
    tokenizer, unk = _opened(wordpiece), 0
    assert tokenizer.unk_id == unk
    assert tokenizer.encode("you 日 you") == [4, unk, 4]
    assert tokenizer.encode_batch(["you 日 you"]) == [[4, unk, 4]]
    assert tokenizer.decode([4, unk, 4]) == "you you"


def test_wordpiece_streams_without_reading_all_again() -> None:
    """One piece costs the same whatever stands before it, and the first word has no space before it."""
    tokenizer = _opened(wordpiece)
    decoder = tokenizer.stream()
    assert [decoder.push(i) for i in [1, 2, 3, 4, 5]] == ["", "he", "llo", " you", "."]
    assert type(decoder).__name__ == "_ByteStream"


def test_bytes_and_spaces_that_are_spelled_are_text(tmp_path: Path) -> None:
    """Unigram knows the pieces <0x41> and ▁ as words; in a text they are what they look like."""
    vocab = [("<unk>", 0.0), ("▁", -2.0), *((f"<0x{b:02X}>", -1e4) for b in range(256))]
    vocab += [(c, -3.0) for c in "<0x41>ab"]
    backend = Tokenizer(models.Unigram(list(dict(vocab).items()), 0, True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer = open_tokenizer(write(tmp_path, backend, template=None, config={}))
    assert tokenizer.unk_id is None
    for text in ("<0x41>", "a▁b", "▁▁ a", "<0x4日", "<0x41><0x41>▁"):
        assert tokenizer.decode(tokenizer.encode(text)) == text
        assert tokenizer.encode_batch([text]) == [tokenizer.encode(text)]
    assert tokenizer.encode("a▁") == [tokenizer.id_of("a"), *(tokenizer.id_of(f"<0x{b:02X}>") for b in "▁".encode())]


def test_documents_of_a_bert_begin_and_end_with_its_frame(tmp_path: Path) -> None:
    backend = Tokenizer(models.WordPiece({t: i for i, t in enumerate(["[UNK]", "[CLS]", "[SEP]", "whale"])}))
    backend.add_special_tokens(["[UNK]", "[CLS]", "[SEP]"])
    names = {"cls_token": "[CLS]", "sep_token": "[SEP]"}
    bare = open_tokenizer(write(tmp_path / "bare", backend, template=None, config=names))
    assert bare.document_ends == (2, 2)
    backend.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    tokenizer = open_tokenizer(write(tmp_path / "bert", backend, template=None, config=names))
    assert tokenizer.document_ends == (1, 2)
    assert not tokenizer.chats
    with pytest.raises(InputError, match="holds no conversation"):
        tokenizer.render(talk("Hi"))
    assert open_tokenizer(write(tmp_path / "chat", backend, config=names | {"chat_template": CHATML})).chats


def corrupt(change: Callable[[dict[str, Any]], object]) -> str:
    parsed = json.loads(byte_bpe().to_str())
    change(parsed)
    return json.dumps(parsed)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not a tokenizer.json"),
        ("[]", "not a tokenizer.json"),
        ('{"model": {"vocab": {}}, "added_tokens": 3}', "not a tokenizer.json"),
        (corrupt(lambda p: p["model"]["merges"].append(["q", "zz"])), r"merge \d+ .* needs"),
        (corrupt(lambda p: p["model"]["merges"].append("qq")), "not a pair"),
        (corrupt(lambda p: p["model"]["vocab"].update({"same": 5})), "have the same id 5"),
        (corrupt(lambda p: p["model"]["vocab"].update({"far": 10**7})), "an id of 10000000"),
        (corrupt(lambda p: p["model"]["vocab"].update({"odd": -1})), "not a number from 0"),
        (corrupt(lambda p: p.update(pre_tokenizer={"type": "Nonsense"})), "not a usable tokenizer"),
    ],
)
def test_broken_files_are_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(ModelFileError, match=said):
        open_tokenizer(tmp_path)


def test_a_folder_without_a_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"no tokenizer\.json"):
        open_tokenizer(tmp_path)
    write(tmp_path, byte_bpe())
    (tmp_path / "generation_config.json").write_text("{")
    with pytest.raises(ModelFileError, match="generation_config"):
        open_tokenizer(tmp_path)
