"""A model as a picture (SVG): its stacks from the embedding upwards, with shapes and parameters beside each part."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from lamina.model.show.parts import Description, Part

_WIDTH, _GAP, _LEFT, _STEP = 420, 40, 24, 14
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1c1b18}.soft{fill:#5f5c55;font-size:11px}"
    "rect{stroke:#1c1b18;stroke-width:.8}.embeddings{fill:#e8d9b8}.block{fill:#cfe3dd}.norm{fill:#f1efe9}"
    ".head{fill:#d7d3ea}path{stroke:#5f5c55;fill:none;stroke-width:1.4}"
)
_WRAP = 62  # characters of a line within a part


def draw(described: Description, title: str) -> str:
    """The picture as SVG."""
    columns = [
        [part for part in described.parts if part.stack == "encoder"],
        [part for part in described.parts if part.stack == "decoder"],
    ]
    columns = [column for column in columns if column]
    columns[-1] = [*columns[-1], *(part for part in described.parts if not part.stack)]
    height = max(sum(_height(part) + _STEP for part in column) for column in columns) + 110
    width = 2 * _LEFT + len(columns) * _WIDTH + (len(columns) - 1) * _GAP
    body = [f'<text x="{_LEFT}" y="26" style="font-size:17px">{escape(title)}</text>']
    facts = (
        f"{described.parameters:,} parameters · {described.flops / 1e6:,.1f} MFLOP a token · "
        f"{described.cache_bytes:,} bytes of keys and values a token"
    )
    body.append(f'<text x="{_LEFT}" y="46" class="soft">{escape(facts)}</text>')
    tops = []
    for number, column in enumerate(columns):
        x, y = _LEFT + number * (_WIDTH + _GAP), height - 24
        body.append(f'<text x="{x}" y="{height - 8}" class="soft">tokens</text>')
        for part in column:
            y -= _height(part)
            body += _box(part, x, y)
            y -= _STEP
            body.append(f'<path d="M{x + _WIDTH / 2} {y + _STEP} v-{_STEP}"/>')
        tops.append((x, y))
    if len(columns) == 2:
        body.append(_crossing(tops[0], columns[1], height))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{escape(title)}"><style>{_STYLE}</style>'
        f'<rect width="100%" height="100%" style="fill:#fbfaf7;stroke:none"/>{"".join(body)}</svg>'
    )


def _box(part: Part, x: float, y: float) -> Iterator[str]:
    kind = part.name if part.name in ("embeddings", "norm") else "block" if part.name.startswith("block") else "head"
    size = f'width="{_WIDTH - 10}" height="{_height(part)}" rx="6"'
    for back in range(min(part.times, 3) - 1, -1, -1):  # the others behind it
        yield f'<rect class="{kind}" x="{x + 5 * back}" y="{y - 4 * back}" {size}/>'
    times = f"{part.times} × " if part.times > 1 else ""
    yield f'<text x="{x + 10}" y="{y + 19}">{times}{escape(f"{part.stack} {part.name}".strip())}</text>'
    count = f"{part.parameters * part.times:,}"
    yield f'<text x="{x + _WIDTH - 20}" y="{y + 19}" text-anchor="end">{count}</text>'
    for number, line in enumerate(_lines(part)):
        yield f'<text x="{x + 10}" y="{y + 36 + 14 * number}" class="soft">{escape(line)}</text>'


def _height(part: Part) -> int:
    return 30 + 14 * len(_lines(part))


def _lines(part: Part) -> list[str]:
    """What it is, and the shapes of its matrices, in lines."""
    matrices: dict[tuple[int, ...], list[str]] = {}
    for name, shape in part.shapes:
        if len(shape) > 1:
            matrices.setdefault(shape, []).append(name.removesuffix(".weight").replace("attention.", ""))
    shapes = [f"{', '.join(names)}: {' × '.join(map(str, shape))}" for shape, names in matrices.items()]
    lines = []
    for text in (*part.what.split("; "), *shapes):
        while len(text) > _WRAP:
            cut = text.rfind(" ", 0, _WRAP)
            cut = _WRAP if cut <= 0 else cut
            lines.append(text[:cut])
            text = "  " + text[cut:].strip()
        lines.append(text)
    return lines


def _crossing(top: tuple[float, float], decoder: list[Part], height: int) -> str:
    """The way from the encoder's end into the decoder's blocks."""
    y = height - 24.0
    for part in decoder:
        y -= _height(part)
        if part.name.startswith("block"):
            break
        y -= _STEP
    x = top[0] + _WIDTH / 2
    return f'<path d="M{x} {top[1]} V{top[1] - 10} H{top[0] + _WIDTH + _GAP / 2} V{y + 40} h{_GAP / 2}"/>'
