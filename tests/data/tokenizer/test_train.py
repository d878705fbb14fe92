from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.contracts.chat import Message
from lamina.data.tokenizer.train import train_tokenizer
from lamina.kit.errors import ConfigError, InputError
from lamina.kit.tokenizer import ModelTokenizer, open_tokenizer

ENGLISH = "The whale and the ship went to the island, and the keeper of the lighthouse saw them at 10 o'clock. "
TEXTS = [ENGLISH, "Größere Wale: naïve 日本語 🐋\n\n  if x > 10:\n\treturn 'y'", "", " two  spaces ", "\nA line\r\n"]
KINDS = ["bpe", "wordpiece", "unigram"]
LOSSLESS = ["bpe", "unigram"]


@pytest.fixture(scope="module")
def opened(trained: Callable[..., Path]) -> Callable[[str], ModelTokenizer]:
    return lambda use: _opened(trained(use))


def _opened(folder: Path, known: dict[Path, ModelTokenizer] = {}) -> ModelTokenizer:  # noqa: B006
    if folder not in known:
        known[folder] = open_tokenizer(folder)
    return known[folder]


@pytest.mark.parametrize("use", KINDS)
def test_words_of_the_corpus_are_few_tokens(opened: Callable[[str], ModelTokenizer], use: str) -> None:
    tokenizer = opened(use)
    assert tokenizer.vocabulary <= 700
    assert tokenizer.kind == {"bpe": "BPE", "wordpiece": "WordPiece", "unigram": "Unigram"}[use]
    assert len(tokenizer.encode(ENGLISH)) < len(ENGLISH) / 3
    if use != "wordpiece":
        assert len(tokenizer.encode("2024")) == 4


@pytest.mark.parametrize("use", LOSSLESS)
@settings(max_examples=150, deadline=None)
@given(
    text=st.one_of(
        st.text(),
        st.binary().map(lambda raw: raw.decode("utf-8", "replace")),
        st.lists(st.sampled_from([*"▁▁ \n\t<0x4A>", "<0x41>", "<0xe9>", "</s>", "<unk>", "<pad>", "whale", "🐋"])).map(
            "".join
        ),
    )
)
def test_any_text_comes_back(opened: Callable[[str], ModelTokenizer], use: str, text: str) -> None:
    tokenizer = opened(use)
    text = text.encode("utf-8", "replace").decode()
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.control.isdisjoint(ids)
    assert tokenizer.unk_id is None or tokenizer.unk_id not in ids
    assert tokenizer.encode_batch([text]) == [ids]
    stream = tokenizer.stream()
    assert "".join(map(stream.push, ids)) + stream.finish() == text


def test_what_wordpiece_loses(opened: Callable[[str], ModelTokenizer], trained: Callable[..., Path]) -> None:
    uncased, cased = opened("wordpiece"), _opened(trained("wordpiece", lowercase=False))
    text = "The  Whale\nwäs\x07 there ."
    assert uncased.decode(uncased.encode(text)) == "the whale was there."
    assert cased.decode(cased.encode("The  Whale\nsaw")) == "The Whale saw"
    assert uncased.encode("whale 鯨 island") == [*uncased.encode("whale"), uncased.unk_id, *uncased.encode("island")]
    assert uncased.encode("w" * 101) == [uncased.unk_id]
    assert uncased.unk_id is not None


@pytest.mark.parametrize("use", KINDS)
def test_transformers_opens_it_and_gives_the_same_ids(
    opened: Callable[[str], ModelTokenizer], trained: Callable[..., Path], use: str
) -> None:
    transformers = pytest.importorskip("transformers")
    theirs, ours = transformers.AutoTokenizer.from_pretrained(str(trained(use))), opened(use)
    for text in TEXTS:
        ids = theirs.encode(text, add_special_tokens=False)
        assert ours.encode(text) == ids
        assert theirs.decode(ids, skip_special_tokens=True) == ours.decode(ids)
        assert theirs(text)["input_ids"] == ours.framed(text).ids
    pair = theirs(TEXTS[0], TEXTS[1], return_token_type_ids=True)
    framed = ours.framed(TEXTS[0], TEXTS[1])
    assert pair["input_ids"] == framed.ids
    if use == "wordpiece":
        assert pair["token_type_ids"] == framed.kinds
        assert [theirs.cls_token_id, theirs.sep_token_id] == [framed.ids[0], framed.ids[-1]]
        assert [theirs.pad_token_id, theirs.unk_token_id, theirs.mask_token_id] == [0, 1, 4]
        return
    rows = [{"role": "user", "content": "the whale"}]
    asked = theirs.apply_chat_template(rows, add_generation_prompt=True, return_dict=False)
    assert asked == ours.render([Message("user", "the whale")], open_answer=True).ids


def test_ends_and_templates(opened: Callable[[str], ModelTokenizer]) -> None:
    for use, end in (("bpe", "<|endoftext|>"), ("unigram", "</s>")):
        tokenizer = opened(use)
        assert tokenizer.end_ids == (tokenizer.id_of(end), tokenizer.id_of("<|im_end|>"))
        assert tokenizer.document_ends == (tokenizer.id_of(end), tokenizer.id_of(end))
        rendered = tokenizer.render([Message("user", "the whale"), Message("assistant", "the ship")])
        learned = [i for i, mark in zip(rendered.ids, rendered.learned, strict=True) if mark]
        assert learned == [*tokenizer.encode("the ship"), tokenizer.id_of("<|im_end|>")]
    bert = opened("wordpiece")
    assert bert.document_ends == (bert.id_of("[CLS]"), bert.id_of("[SEP]"))
    assert bert.end_ids == (bert.id_of("[SEP]"),)
    assert not bert.chats
    with pytest.raises(InputError, match="holds no conversation"):
        bert.render([Message("user", "the whale")])


def test_sentinels_stand_at_the_end(trained: Callable[..., Path]) -> None:
    tokenizer = _opened(trained("unigram", sentinels=3))
    last = tokenizer.vocabulary - 1
    assert [tokenizer.token_of(last - n) for n in range(3)] == ["<extra_id_0>", "<extra_id_1>", "<extra_id_2>"]
    assert tokenizer.control >= {last, last - 1, last - 2}
    assert tokenizer.decode(tokenizer.encode("<extra_id_0>")) == "<extra_id_0>"
    assert [tokenizer.token_of(i) for i in range(3)] == ["<pad>", "</s>", "<unk>"]


@pytest.mark.parametrize("use", KINDS)
def test_another_process_makes_the_same_bytes(small_corpus: Path, trained: Callable[..., Path], use: str) -> None:
    """Hash tables of another process have another order."""
    again = small_corpus.parent / f"again-{use}"
    code = (
        "import sys; from pathlib import Path; from lamina.data.tokenizer.train import train_tokenizer;"
        "train_tokenizer(Path(sys.argv[1]), Path(sys.argv[2]), use=sys.argv[3], vocabulary=700)"
    )
    subprocess.run([sys.executable, "-c", code, str(small_corpus), str(again), use], check=True)
    for file in sorted(trained(use).iterdir()):
        assert (again / file.name).read_bytes() == file.read_bytes(), file.name


def test_one_long_document_does_not_decide(tmp_path: Path, corpus_of: Callable[..., Path]) -> None:
    place = corpus_of(tmp_path / "c", {"s": [("y" * 9 + " ") * 1000 + "zqzqzq " * 5000, "abc abc abc"]})
    train_tokenizer(place, tmp_path / "t", vocabulary=300)
    assert len(open_tokenizer(tmp_path / "t").encode("zqzqzq")) == 6  # beyond the first 10,000 characters


def test_more_kinds_of_characters_than_room(tmp_path: Path, corpus_of: Callable[..., Path]) -> None:
    """Thousands of characters do not fit: the common ones get tokens, the others bytes, or unknown words."""
    rare = "".join(map(chr, range(0x4E00, 0x4E00 + 3000)))
    place = corpus_of(tmp_path / "c", {"s": ["鯨が来た。" * 300, rare, ENGLISH * 20]})
    for use in KINDS:
        train_tokenizer(place, tmp_path / use, use=use, vocabulary=600)  # type: ignore[arg-type]
        tokenizer = open_tokenizer(tmp_path / use)
        assert tokenizer.vocabulary <= 600
        assert len(tokenizer.encode("鯨が来た。")) <= 5
        assert tokenizer.decode(tokenizer.encode(rare)) == rare or use == "wordpiece"


def test_what_cannot_be(tmp_path: Path, corpus_of: Callable[..., Path]) -> None:
    place = corpus_of(tmp_path / "c", {"s": ["a"]})
    for use, least in (("bpe", "259"), ("wordpiece", "261"), ("unigram", "449")):
        with pytest.raises(ConfigError, match=f"200 is less than {least}"):
            train_tokenizer(place, tmp_path / "t", use=use, vocabulary=200)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no document"):
        train_tokenizer(tmp_path / "nothing", tmp_path / "t", vocabulary=300)
    with pytest.raises(ConfigError, match="there is no tokenizer 'bytes'"):
        train_tokenizer(place, tmp_path / "t", use="bytes")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="wordpiece' only"):
        train_tokenizer(place, tmp_path / "t", lowercase=True)
    with pytest.raises(ConfigError, match="unigram' only"):
        train_tokenizer(place, tmp_path / "t", sentinels=5)
    for wrong in ({"sample": 0}, {"document": 0}, {"temperature": 0.0}):
        with pytest.raises(ConfigError, match="not above 0"):
            train_tokenizer(place, tmp_path / "t", vocabulary=300, **wrong)  # type: ignore[arg-type]


def test_a_corpus_of_white_space(tmp_path: Path, corpus_of: Callable[..., Path]) -> None:
    place = corpus_of(tmp_path / "c", {"s": ["\n \n"]})
    for use in KINDS:
        train_tokenizer(place, tmp_path / use, use=use, vocabulary=460)  # type: ignore[arg-type]
        tokenizer = open_tokenizer(tmp_path / use)
        assert tokenizer.decode(tokenizer.encode("abc")) == ("abc" if use != "wordpiece" else "")


def test_the_files_of_a_folder(trained: Callable[..., Path]) -> None:
    names = {use: {file.name for file in trained(use).iterdir()} for use in KINDS}
    common = {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"}
    assert names == {
        "bpe": common | {"ranks.tiktoken", "tiktoken.json"},
        "wordpiece": common | {"vocab.txt"},
        "unigram": common,
    }
    vocab = (trained("wordpiece") / "vocab.txt").read_text().splitlines()
    assert vocab[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    added = json.loads((trained("wordpiece") / "tokenizer.json").read_text())["added_tokens"]
    assert [token["content"] for token in added] == vocab[:5]
