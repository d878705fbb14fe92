"""New texts from old ones and lists of edits."""
# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
# numba compiles these functions from their arguments' types; annotations would say nothing to it.

from __future__ import annotations

from lamina.kit.numba_cache import compiled

#: Columns of an edit: the characters from BEGIN to END of the texts are replaced by LEAD (a character, 0: none), then
#: POOL's characters from FROM to TO in the case SHAPE, then TRAIL.
CHILD, BEGIN, END, POOL, FROM, TO, SHAPE, LEAD, TRAIL = range(9)
COLUMNS = 9
TEXTS, WORDS = 0, 1  # pools: the texts themselves, the words of a lexicon or table
AS_IS, TITLED, UPPERED, LOWERED, TOGGLED = 0, 1, 2, 3, 4


@compiled
def shaped(code, k, shape, lower, upper):
    """The character ``code``, number ``k`` of its word, in the case ``shape``."""
    if shape == AS_IS:
        return code
    if shape == UPPERED or (shape == TITLED and k == 0):
        return upper[code]
    if shape in (TITLED, LOWERED):
        return lower[code]
    if k == 0:
        return lower[code] if lower[code] != code else upper[code]
    return code


@compiled
def sizes(ends, copies, edits, out_ends):
    """``out_ends`` (children + 1,) for children ``copies`` a text."""
    children = len(out_ends) - 1
    out_ends[0] = 0
    for c in range(children):
        d = c // copies
        out_ends[c + 1] = ends[d + 1] - ends[d]
    for e in range(len(edits)):
        row = edits[e]
        size = row[TO] - row[FROM] + (row[LEAD] != 0) + (row[TRAIL] != 0)
        out_ends[row[CHILD] + 1] += size - (row[END] - row[BEGIN])
    for c in range(children):
        out_ends[c + 1] += out_ends[c]


@compiled
def assemble(codes, ends, copies, edits, words, lower, upper, out, out_ends, parts, part_ends):
    """Write the children into ``out``, and what each edit put in into ``parts`` with ``part_ends`` (E + 1,).

    ``edits`` (E, 9) are in the order of child and begin, and do not overlap.
    """
    e = 0
    p = 0
    part_ends[0] = 0
    for c in range(len(out_ends) - 1):
        d = c // copies
        at = ends[d]
        o = out_ends[c]
        while e < len(edits) and edits[e, CHILD] == c:
            row = edits[e]
            for k in range(at, row[BEGIN]):
                out[o] = codes[k]
                o += 1
            begin = o
            if row[LEAD]:
                out[o] = row[LEAD]
                o += 1
            for k in range(row[FROM], row[TO]):
                code = codes[k] if row[POOL] == TEXTS else words[k]
                out[o] = shaped(code, k - row[FROM], row[SHAPE], lower, upper)
                o += 1
            if row[TRAIL]:
                out[o] = row[TRAIL]
                o += 1
            for k in range(begin, o):
                parts[p] = out[k]
                p += 1
            e += 1
            part_ends[e] = p
            at = row[END]
        for k in range(at, ends[d + 1]):
            out[o] = codes[k]
            o += 1
