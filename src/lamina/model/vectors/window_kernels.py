"""The arithmetic that a window of Word2Vec comes down to: small products of rows, the loss, random draws.

Rows are padded with zeros to P, a multiple of 16, so that every loop over them is whole vectors.
"""
# mypy: disable-error-code="no-untyped-def,no-untyped-call,assignment,operator"
# numba compiles these functions from their arguments' types; annotations would say nothing to it.

from __future__ import annotations

from typing import Any

import numpy as np

from lamina.kit import numba_cache

# Sums of floats in any order, which is what lets them be vectors; NaN and infinity keep their meaning.
_OPTIONS = {"fastmath": {"reassoc", "contract", "arcp", "nsz"}, "error_model": "numpy", "_nrt": False}
#: A whole loop, called from Python.
fast: Any = numba_cache.keeping(**_OPTIONS)
#: A part of one, which becomes one with its caller.
part: Any = numba_cache.keeping(**_OPTIONS, forceinline=True)

_STEP, _MIX1, _MIX2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31, _S32 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)
_TRIES = 64
_ZERO, _ONE, _TWO, _FAR, _PART = np.float32(0), np.float32(1), np.float32(2), np.float32(16), np.float32(1 / 32)
_E2, _E3, _E4, _E5 = np.float32(1 / 2), np.float32(1 / 6), np.float32(1 / 24), np.float32(1 / 120)
_L3, _L5, _L7, _L9 = np.float32(1 / 3), np.float32(1 / 5), np.float32(1 / 7), np.float32(1 / 9)


@part
def next_random(state):
    """64 random bits: splitmix64 (Steele et al. 2014)."""
    state[0] += _STEP
    z = state[0]
    z = (z ^ (z >> _S30)) * _MIX1
    z = (z ^ (z >> _S27)) * _MIX2
    return z ^ (z >> _S31)


@part
def below(number, limit):
    """Of 64 random bits the upper 32, as a whole number from 0 to ``limit`` - 1."""
    return np.int64(((number >> _S32) * np.uint64(limit)) >> _S32)


@part
def draw_word(draw, state):
    """A word by an alias table (Walker 1977): one random number, one row of the table."""
    bits = next_random(state)
    place = below(bits, draw.shape[0])
    return place if np.uint32(bits & _LOW) < draw[place, 0] else np.int64(draw[place, 1])


@part
def draw_other(word, draw, state):
    """A word that is not ``word``; its neighbour by rank where that one is nearly all there is to draw."""
    for _ in range(_TRIES):
        other = draw_word(draw, state)
        if other != word:
            return other
    return np.int64((word + 1) % draw.shape[0])


@part
def clear_row(row):
    """Zeros."""
    for j in range(row.shape[0] >> 4 << 4):
        row[j] = _ZERO


@part
def add_row(target, share, row):
    """``target`` (P) += ``share`` * ``row``."""
    for j in range(target.shape[0] >> 4 << 4):
        target[j] += share * row[j]


@part
def add_rows(target, coefficients, first, step, source, count):
    """``target`` (P) += the sum of ``count`` rows of ``source``, each times its coefficient."""
    width = target.shape[0] >> 4 << 4
    b = 0
    while b + 4 <= count:
        c0, c1 = coefficients[first + b * step], coefficients[first + (b + 1) * step]
        c2, c3 = coefficients[first + (b + 2) * step], coefficients[first + (b + 3) * step]
        s0, s1, s2, s3 = source[b], source[b + 1], source[b + 2], source[b + 3]
        for j in range(width):
            target[j] += c0 * s0[j] + c1 * s1[j] + c2 * s2[j] + c3 * s3[j]
        b += 4
    while b + 2 <= count:
        c0, c1 = coefficients[first + b * step], coefficients[first + (b + 1) * step]
        s0, s1 = source[b], source[b + 1]
        for j in range(width):
            target[j] += c0 * s0[j] + c1 * s1[j]
        b += 2
    if b < count:
        c0 = coefficients[first + b * step]
        s0 = source[b]
        for j in range(width):
            target[j] += c0 * s0[j]


@part
def logits(x, inputs, o, outputs, e):
    """``e[b * M + m]`` = x[b] · o[m]: tiles of 2 x 2; rows past the last of an odd number are read and not used."""
    width = x.shape[1] >> 4 << 4
    for b in range(0, inputs, 2):
        x0, x1 = x[b], x[b + 1]
        for m in range(0, outputs, 2):
            o0, o1 = o[m], o[m + 1]
            s00 = s01 = s10 = s11 = _ZERO
            for j in range(width):
                s00 += x0[j] * o0[j]
                s01 += x0[j] * o1[j]
                s10 += x1[j] * o0[j]
                s11 += x1[j] * o1[j]
            e[b * outputs + m] = s00
            e[(b + 1) * outputs + m] = s10
            if m + 1 < outputs:
                e[b * outputs + m + 1] = s01
                e[(b + 1) * outputs + m + 1] = s11


@part
def learn(e, signs, count, rate):
    """Logits to coefficients of the update, in place: rate * sign * sigmoid(-sign * logit); returns the loss.

    The loss is the sum of -ln sigmoid(sign * logit). exp(-|z|) is a Taylor polynomial to the 32nd power, the logarithm
    the series of artanh: both within 2e-6.
    """
    loss = _ZERO
    for i in range(count):
        z = e[i] * signs[i]
        a = min(abs(z), _FAR)
        t = -a * _PART
        p = _ONE + t * (_ONE + t * (_E2 + t * (_E3 + t * (_E4 + t * _E5))))
        p *= p
        p *= p
        p *= p
        p *= p
        p *= p  # exp(-|z|)
        s = p / (_TWO + p)
        q = s * s
        loss += max(-z, _ZERO) + _TWO * s * (_ONE + q * (_L3 + q * (_L5 + q * (_L7 + q * _L9))))
        e[i] = rate * signs[i] * ((p if z > _ZERO else _ONE) / (_ONE + p))
    return loss


@fast
def merge_rows(base, copies, rows, first, last):
    """Make ``base`` (R, P) and all ``copies`` (T, R, P) the same again in ``rows[first:last]``: what the copies learned
    since they were ``base`` is added up, in their order."""
    threads, width = copies.shape[0], base.shape[1] >> 4 << 4
    for i in range(first, last):
        old, total = base[rows[i]], copies[0, rows[i]]
        for t in range(1, threads):
            other = copies[t, rows[i]]
            for j in range(width):
                total[j] += other[j] - old[j]
        for j in range(width):
            old[j] = total[j]
        for t in range(1, threads):
            copy = copies[t, rows[i]]
            for j in range(width):
                copy[j] = total[j]
