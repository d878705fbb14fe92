"""What the service asks of whatever goes on with texts: the house's own engine, or one over another library."""

from __future__ import annotations

import asyncio
from typing import Protocol

from lamina.contracts.inference import SamplingParams
from lamina.deployment.engine.adapters import EngineAdapter
from lamina.deployment.engine.admission import PLAIN, Standing
from lamina.deployment.engine.guidance import Guidance, TokenGuide
from lamina.deployment.engine.observer import Load, Observer
from lamina.deployment.engine.sequence import Deliver


class Answering(Protocol):
    """Many requests at once, streamed; may be called from any thread. ``engine.Engine`` says what each does."""

    observer: Observer | None

    @property
    def context(self) -> int:
        """Tokens that prompt and answer may have together."""
        ...

    @property
    def guidance(self) -> Guidance:
        """Reads constraints."""
        ...

    def submit(
        self,
        id: str,
        prompt: list[int],
        sampling: SamplingParams,
        deliver: Deliver,
        *,
        loop: asyncio.AbstractEventLoop | None = None,
        guide: TokenGuide | None = None,
        standing: Standing = PLAIN,
        adapter: EngineAdapter | None = None,
    ) -> None:
        """Queue a request; ``sampling`` holds its constraint, also where ``guide`` was made of it."""
        ...

    def check_room(self, key: str, active: int) -> None:
        """Raise ``QueueFullError`` where ``submit`` would, once those of ``active`` requests on the way came."""
        ...

    def abort(self, id: str) -> None:
        """End a request; nothing more is delivered for it."""
        ...

    def load(self) -> Load:
        """How busy it is."""
        ...

    def close(self) -> None:
        """Abort what runs and end. Idempotent."""
        ...

    def forget(self) -> None:
        """Let go of the weights, after ``close``."""
        ...
