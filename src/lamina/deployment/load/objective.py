"""What a user must not wait longer for: the service-level objective that goodput counts by."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from lamina.kit.config import seconds
from lamina.kit.errors import InputError

_NAMES = ("ttft", "itl", "e2e")


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """Bounds in seconds: to the first token, between tokens (the mean of a request), to the end; None: no bound."""

    ttft: float | None = None
    itl: float | None = None
    e2e: float | None = None

    @classmethod
    def read(cls, text: str, *, where: str) -> Objective:
        """``ttft=300ms,itl=50ms,e2e=5s``, any of them. Raises ``InputError``."""
        bounds: dict[str, float] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, sign, value = part.partition("=")
            if not sign or name.strip() not in _NAMES or name.strip() in bounds:
                raise InputError(f"'{part}' is no objective", where=where, hint="ttft=300ms,itl=50ms,e2e=5s")
            bounds[name.strip()] = seconds(value, where=where)
        return cls(**bounds)

    def met(self, *, ttft: float, itl: float, e2e: float) -> bool:
        """Whether a request with these times is a good one."""
        pairs = ((ttft, self.ttft), (itl, self.itl), (e2e, self.e2e))
        return all(bound is None or value <= bound for value, bound in pairs)

    def told(self) -> dict[str, float]:
        """The bounds that there are."""
        return {name: bound for name, bound in asdict(self).items() if bound is not None}
