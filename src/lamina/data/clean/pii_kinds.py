"""What personal data looks like: for each kind a pattern, a check that a match is one, and what stands for it.

Placeholders belong to nobody: RFC 2606 reserves example.com, the North American plan 555-0100 to 555-0199 for fiction,
RFC 5737 and RFC 3849 addresses for documentation; the others are no valid numbers. A placeholder is no match itself.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Check = Callable[[str], bool]
Around = Callable[[str, str], bool]  # what stands before a match, and behind it
_NEAR = 12  # characters


@dataclass(frozen=True, slots=True)
class Kind:
    """``pattern`` is read by Rust (to find the few texts that may hold one) and by Python (to find where)."""

    name: str
    pattern: str
    placeholder: str
    check: Check = bool
    around: Around = lambda before, after: True

    def found(self, text: str) -> list[tuple[int, int]]:
        """Start and end of each one in ``text``."""
        spans = (m.span(1) if m.re.groups and m[1] is not None else m.span() for m in re.finditer(self.pattern, text))
        matches = [(a, b) for a, b in spans if text[a:b] != self.placeholder and self.check(text[a:b])]
        return [(a, b) for a, b in matches if self.around(text[max(0, a - _NEAR) : a], text[b : b + _NEAR])]


EMAIL = r"[A-Za-z0-9][A-Za-z0-9._%+\-]{0,63}@(?:[A-Za-z0-9](?:[A-Za-z0-9\-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,24}\b"
#: International (+, 8-15 digits in groups), or North American with an area code. Bare digit strings are left alone.
PHONE = (
    r"\+[1-9]\d{0,2}[ .\-/]?(?:\(0?\d{1,4}\)[ .\-/]?)?\d{2,5}(?:[ .\-/]?\d{2,5}){1,4}\b"
    r"|(?:\b1[ .\-])?(?:\([2-9]\d{2}\) ?|\b[2-9]\d{2}[.\-])\d{3}[ .\-]\d{4}\b"
)
_OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_IPV4 = rf"\b{_OCTET}(?:\.{_OCTET}){{3}}\b"
#: Around four numbers that are those of a version: "version 4.6.2.0", "lib-4.6.2.0.tar.gz".
_VERSION = re.compile(r"\b(?:versions?|release|revision)\s$", re.IGNORECASE)
_PACKAGE = re.compile(
    r"(?:\.(?:tar|t?gz|zip|xz|bz2|deb|rpm|whl|jar|apk|exe|msi|dmg|dll|so)|[-_](?:\d|amd|x86|arm|src|linux|win))"
)
_IPV6 = r"\b(?:[0-9A-Fa-f]{1,4}:){2,7}(?::?[0-9A-Fa-f]{1,4}){1,6}\b"
_CARD = r"\b[3-6]\d{3}(?:[ \-]?\d){8,14}\d\b"
_IBAN = r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"
_SECRET = (
    r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[A-Za-z0-9+/=\s\\:,\-]{0,8000}?-----END [A-Z ]{0,30}PRIVATE KEY-----"
    r"|\beyJ[A-Za-z0-9_\-]{10,2000}\.eyJ[A-Za-z0-9_\-]{10,4000}\.[A-Za-z0-9_\-]{10,2000}\b"  # JSON Web Token
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36,255}\b|\bgithub_pat_[A-Za-z0-9_]{40,255}\b"
    r"|\bglpat-[A-Za-z0-9_\-]{20}\b|\bxox[abprs]-[A-Za-z0-9\-]{10,250}\b|\bAIza[A-Za-z0-9_\-]{35}\b"
    r"|\b[sr]k_(?:live|test)_[A-Za-z0-9]{16,250}\b|\bsk-(?:proj-|ant-)?[A-Za-z0-9_\-]{32,250}\b"
    r"|\bhf_[A-Za-z0-9]{30,60}\b|\bpypi-[A-Za-z0-9_\-]{50,250}\b|\bnpm_[A-Za-z0-9]{36}\b"
)
#: ``password = "…"`` and the like: the value counts where it looks drawn by chance.
_ASSIGNED = (
    r"(?i:\b(?:api|access|auth|client|private|secret)[_\-]?(?:key|token|secret)|\bpassw(?:or)?d|\bsecret)"
    r"[\"']?\s{0,3}[:=]\s{0,3}[\"']?([A-Za-z0-9+/_\-.=]{12,200})"
)
#: Length of an IBAN by country (ISO 13616).
_IBAN_LENGTHS = {
    **{"AD": 24, "AE": 23, "AT": 20, "BE": 16, "BG": 22, "CH": 21, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "EE": 20},
    **{"ES": 24, "FI": 18, "FR": 27, "GB": 22, "GI": 23, "GR": 27, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IS": 26},
    **{"IT": 27, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "MC": 27, "MT": 31, "NL": 18, "NO": 15, "PL": 28, "PT": 25},
    **{"RO": 24, "RS": 22, "SA": 24, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "TR": 26, "UA": 29, "BR": 29, "QA": 29},
}


def luhn(text: str) -> bool:
    """Whether the digits of ``text`` end with their Luhn check digit (ISO/IEC 7812-1).

    >>> luhn("4539 1488 0343 6467"), luhn("4539 1488 0343 6468")
    (True, False)
    """
    digits = [int(c) for c in text if c.isdigit()]
    doubled = (d * 2 - 9 * (d > 4) for d in digits[-2::-2])
    return len(digits) > 1 and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def iban(text: str) -> bool:
    """Whether ``text`` is an IBAN: its country's length, and a remainder of 1 modulo 97 (ISO 7064)."""
    plain = text.replace(" ", "")
    if _IBAN_LENGTHS.get(plain[:2]) != len(plain):
        return False
    return int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1


def public_address(text: str) -> bool:
    """Whether ``text`` is an address of the public Internet."""
    try:
        return ipaddress.ip_address(text).is_global
    except ValueError:
        return False


def no_version(before: str, after: str) -> bool:
    """Whether four numbers are not those of a version, by what stands around them. In doubt they are an address.

    >>> no_version("seen from host-", " at"), no_version("libfoo-", ".tar"), no_version("version ", "")
    (True, False, False)
    """
    return not _VERSION.search(before) and not (before[-1:] in ("-", "_") and _PACKAGE.match(after))


def drawn_by_chance(text: str) -> bool:
    """Whether ``text`` is more like a key than like a word: digits and letters, at least 3 bits a character.

    >>> drawn_by_chance("q7Zf93LkPw2xVb8s"), drawn_by_chance("changeme-please")
    (True, False)
    """
    counts = Counter(text)
    bits = -sum(n / len(text) * math.log2(n / len(text)) for n in counts.values())
    return bits >= 3 and any(c.isdigit() for c in text) and any(c.isalpha() for c in text)


def _card(text: str) -> bool:
    return 13 <= sum(c.isdigit() for c in text) <= 19 and luhn(text) and len(set(text)) > 3


def _digits(text: str) -> list[int]:
    return [int(c) for c in text if c.isdigit()]


def _weighted(text: str, weights: tuple[int, ...], modulus: int) -> int:
    return sum(d * w for d, w in zip(_digits(text), weights, strict=False)) % modulus


def _dni(text: str) -> bool:
    number = text[:-1].replace("-", "").replace(" ", "")
    number = number.translate({ord("X"): "0", ord("Y"): "1", ord("Z"): "2"})  # a foreigner's
    return "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23] == text[-1]


def _nir(text: str) -> bool:
    plain = text.replace(" ", "").upper().replace("2A", "19").replace("2B", "18")
    return 97 - int(plain[:13]) % 97 == int(plain[13:])


def _steuer_id(text: str) -> bool:
    """ISO 7064, MOD 11,10; of the first ten digits exactly one occurs twice or thrice."""
    digits = _digits(text)
    most = Counter(digits[:10]).most_common(2)
    if digits[0] == 0 or most[0][1] not in (2, 3) or most[1][1] > 1:
        return False
    product = 10
    for digit in digits[:10]:
        total = (digit + product) % 10 or 10
        product = total * 2 % 11
    return (11 - product) % 10 == digits[10]


def _ssn(text: str) -> bool:
    area, group, serial = text.split("-")
    return area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"


def _cpf(text: str) -> bool:
    digits = _digits(text)
    if len(set(digits)) == 1:
        return False
    for n in (9, 10):
        rest = sum(d * (n + 1 - i) for i, d in enumerate(digits[:n])) * 10 % 11 % 10
        if rest != digits[n]:
            return False
    return True


def _bsn(text: str) -> bool:
    digits = _digits(text)
    return (sum(d * w for d, w in zip(digits, (9, 8, 7, 6, 5, 4, 3, 2, -1), strict=True))) % 11 == 0 and any(digits)


def _pesel(text: str) -> bool:
    month = int(text[2:4]) % 20
    return 1 <= month <= 12 and _weighted(text, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1), 10) == 0


_NATIONAL = "[national id]"
#: National identity numbers, each by its own check digits; only those that a stack file names are looked for.
NATIONAL: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("us-ssn", r"\b\d{3}-\d{2}-\d{4}\b", _NATIONAL, _ssn),
        Kind("uk-nino", r"\b[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]\b", _NATIONAL),
        Kind("es-dni", r"\b(?:\d{8}|[XYZ]-?\d{7})[ \-]?[A-Z]\b", _NATIONAL, _dni),
        Kind("fr-nir", r"\b[12] ?\d{2} ?(?:0[1-9]|1[0-2]) ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2}\b", _NATIONAL, _nir),
        Kind("de-steuer-id", r"\b\d{2} ?\d{3} ?\d{3} ?\d{3}\b", _NATIONAL, _steuer_id),
        Kind("br-cpf", r"\b\d{3}\.?\d{3}\.?\d{3}-?\d{2}\b", _NATIONAL, _cpf),
        Kind("nl-bsn", r"\b\d{9}\b", _NATIONAL, _bsn),
        Kind("pl-pesel", r"\b\d{11}\b", _NATIONAL, _pesel),
    )
}
#: What is looked for unless a stack file says otherwise. The longer kinds come first: a card is no phone number.
KINDS: Mapping[str, tuple[Kind, ...]] = {
    "secret": (Kind("secret", _SECRET, "[secret]"), Kind("secret", _ASSIGNED, "[secret]", drawn_by_chance)),
    "email": (Kind("email", EMAIL, "email@example.com"),),
    "iban": (Kind("iban", _IBAN, "XX00 0000 0000 0000", iban),),
    "card": (Kind("card", _CARD, "0000 0000 0000 0000", _card),),
    "ip": (
        Kind("ip", _IPV4, "192.0.2.1", public_address, no_version),
        Kind("ip", _IPV6, "2001:db8::1", public_address),
    ),
    "phone": (Kind("phone", PHONE, "555-0100"),),
}
