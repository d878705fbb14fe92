"""What was checked of a trained model, and what came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Verdict = Literal["pass", "fail", "not applicable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of a trust report: ``measured`` says in words what was seen, or why there is nothing to see."""

    what: str
    verdict: Verdict
    measured: str

    def __str__(self) -> str:
        return f"{self.verdict}: {self.what}: {self.measured}"


def found(what: str, passed: bool | None, measured: str) -> Finding:
    """A finding; ``None`` where there is nothing to check."""
    verdict: Verdict = "not applicable" if passed is None else "pass" if passed else "fail"
    return Finding(what=what, verdict=verdict, measured=measured)


def as_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """``{"passed": …, "findings": […]}``; it passed where nothing failed."""
    return {"passed": all(f.verdict != "fail" for f in findings), "findings": [asdict(f) for f in findings]}


def from_json(values: Mapping[str, Any]) -> list[Finding]:
    """The findings that ``as_json`` wrote."""
    return [Finding(**values) for values in values["findings"]]
