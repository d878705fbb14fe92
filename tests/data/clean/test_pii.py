from __future__ import annotations

import json
import random
from typing import Any

import pyarrow as pa
import pytest

from lamina.data.clean.frames import DETAIL
from lamina.data.clean.pii import personal, pii
from lamina.data.clean.pii_kinds import iban, luhn
from lamina.kit.errors import ConfigError


def mask(text: str | None, meta: str | None = None, **parameters: Any) -> dict[str, str | None]:
    row = {"text": text, "title": None, "author": "a@b.org", "meta": meta}
    rows = pa.record_batch({name: pa.array([value], pa.string()) for name, value in row.items()})
    return pii(rows, **parameters).to_pylist()[0]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("write to jane.doe+x@mail.example.co.uk now", "write to email@example.com now"),
        ("call (808) 782-1557 or 415-555-2671", "call 555-0100 or 555-0100"),
        ("+49 30 901820 and +1 (415) 555-2671", "555-0100 and 555-0100"),
        ("+44 20 7946 0958.", "555-0100."),
    ],
)
def test_masks(text: str, wanted: str) -> None:
    assert mask(text)["text"] == wanted


@pytest.mark.parametrize(
    "text",
    [
        "ISBN 978-3-16-148410-0",
        "on 2021-03-09 at 12:30",
        "1,234,567.89 and 1234567890 and 3.14159265",
        "versions 1.2.3-4567",
        "user@localhost and @mention",
        "a + 12 = 13",
    ],
)
def test_leaves_other_numbers_alone(text: str) -> None:
    assert mask(text)["text"] == text


def test_counts_go_to_the_ledger_and_conversations_are_masked_too() -> None:
    row = mask("a@b.org c@d.org +49 30 901820", '{"messages":[{"role":"user","content":"I am a@b.org"}]}')
    assert json.loads(row[DETAIL]) == {"email": 2, "phone": 1}
    assert row["author"] == "email@example.com"
    assert json.loads(row["meta"])["messages"][0]["content"] == "I am email@example.com"


def test_twice_is_once_and_nothing_is_counted_again() -> None:
    again = mask(mask("a@b.org, (808) 782-1557")["text"])
    assert again["text"] == "email@example.com, 555-0100"
    assert DETAIL not in again


def test_each_kind_can_be_left_out() -> None:
    assert mask("a@b.org (808) 782-1557", email=False)["text"] == "a@b.org 555-0100"
    assert mask("a@b.org (808) 782-1557", email=False, phone=False)["text"] == "a@b.org (808) 782-1557"
    assert mask(None)["text"] is None


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("from 93.184.216.34 to 10.0.0.1 and 127.0.0.1", "from 192.0.2.1 to 10.0.0.1 and 127.0.0.1"),
        ("at 2606:2800:220:1:248:1893:25c8:1946.", "at 2001:db8::1."),
        ("card 4539 1488 0343 6467, not 4539 1488 0343 6468", "card 0000 0000 0000 0000, not 4539 1488 0343 6468"),
        ("IBAN DE89 3704 0044 0532 0130 00 please", "IBAN XX00 0000 0000 0000 please"),
        ("IBAN DE88 3704 0044 0532 0130 00 is mistyped", "IBAN DE88 3704 0044 0532 0130 00 is mistyped"),
        ("key AKIAIOSFODNN7EXAMPLE here", "key [secret] here"),
        ('api_key = "q7Zf93LkPw2xVb8s"', 'api_key = "[secret]"'),
        ("password: changeme-please", "password: changeme-please"),
        (
            "x\n-----BEGIN RSA PRIVATE KEY-----\nMIIEow+/=\nAb9\n-----END RSA PRIVATE KEY-----\ny",
            "x\n[secret]\ny",
        ),
    ],
)
def test_addresses_accounts_and_secrets(text: str, wanted: str) -> None:
    assert mask(text)["text"] == wanted
    assert mask(wanted)["text"] == wanted


@pytest.mark.parametrize(
    ("name", "valid", "wrong"),
    [
        ("us-ssn", "123-45-6789", "000-45-6789"),
        ("uk-nino", "AB 12 34 56 C", "QQ 12 34 56 C"),
        ("es-dni", "12345678Z", "12345678A"),
        ("es-dni", "X1234567L", "X1234567A"),
        ("fr-nir", "2 55 08 14 168 025 38", "2 55 08 14 168 025 39"),
        ("de-steuer-id", "86095742719", "86095742718"),
        ("br-cpf", "529.982.247-25", "529.982.247-26"),
        ("nl-bsn", "111222333", "111222334"),
        ("pl-pesel", "44051401359", "44051401358"),
    ],
)
def test_identity_numbers_by_choice_and_by_their_check_digits(name: str, valid: str, wrong: str) -> None:
    text = f"number {valid}, or {wrong}."
    assert mask(text)["text"] == text
    assert mask(text, national=(name,))["text"] == f"number [national id], or {wrong}."


@pytest.mark.parametrize(
    "text", ["version 4.6.2.0", "Release 4.6.2.0", "v4.6.2.0", "libfoo-4.6.2.0.tar", "foo_4.6.2.0-1_amd64.deb"]
)
def test_the_number_of_a_version_is_no_address(text: str) -> None:
    assert mask(text)["text"] == text


@pytest.mark.parametrize(
    "text",
    [
        "from 8.8.4.4.",
        "ip=8.8.4.4",
        "(8.8.4.4)",
        "8.8.4.4:443",
        "8.8.4.4-8.8.4.4",
        "host-8.8.4.4",
        "8.8.4.4.443",
        "http://8.8.4.4/x",
    ],
)
def test_addresses_among_other_signs_are_masked(text: str) -> None:
    assert "8.8.4.4" not in (mask(text)["text"] or "")


def test_an_unknown_identity_number_is_refused() -> None:
    with pytest.raises(ConfigError, match="'mars-id'"):
        mask("a", national=("mars-id",))


def test_a_hash_is_the_same_for_the_same_value_and_a_removal_leaves_nothing() -> None:
    text = mask("a@b.org, A@B.org, c@d.org", action="hash")["text"] or ""
    one, two, three = text.split(", ")
    assert one == two != three
    assert one.startswith("email-")
    assert mask("a@b.org", action="hash", salt="s")["text"] != one
    assert mask("write a@b.org", action="remove")["text"] == "write "


def test_counts_as_a_signal_for_a_decide() -> None:
    rows = pa.record_batch({"text": ["a@b.org and c@d.org, 4539 1488 0343 6467", None, "nothing"]})
    found = personal(rows).to_pylist()
    assert [(r["pii_email"], r["pii_card"], r["pii_phone"]) for r in found] == [(2, 1, 0), (0, 0, 0), (0, 0, 0)]


def test_precision_and_recall_on_a_planted_set() -> None:
    draw = random.Random(7)

    def digits(n: int) -> str:
        return "".join(draw.choice("0123456789") for _ in range(n))

    def card() -> str:
        number = draw.choice("45") + digits(14)
        return next(number + c for c in "0123456789" if luhn(number + c))

    def account() -> str:
        rest = digits(18)
        check = 98 - int(rest + "131400") % 97
        return f"DE{check:02d}{rest}"

    def email() -> str:
        return f"{draw.choice(['jo', 'ann.b', 'k-l'])}{digits(2)}@mail{digits(2)}.org"

    makers = {"email": email, "card": card, "iban": account}
    fillers = {  # what resembles them and is nothing
        "isbn": lambda: f"978-3-{digits(2)}-{digits(6)}-0",
        "order": lambda: f"order {digits(10)}",
        "version": lambda: f"v{digits(1)}.{digits(2)}.{digits(1)}",
        "sum": lambda: f"{digits(1)},{digits(3)},{digits(3)}.{digits(2)}",
    }
    planted = [(kind, make()) for kind, make in makers.items() for _ in range(100)]
    texts = [f"we wrote {value} down" for _, value in planted]
    harmless = [f"we wrote {make()} down" for make in fillers.values() for _ in range(100)]
    assert all(iban(value) for kind, value in planted if kind == "iban")
    missed = [value for (_, value), text in zip(planted, texts, strict=True) if value in (mask(text)["text"] or "")]
    wrong = [text for text in harmless if mask(text)["text"] != text]
    assert len(missed) <= 0.02 * len(planted), missed[:5]
    assert len(wrong) <= 0.02 * len(harmless), wrong[:5]
