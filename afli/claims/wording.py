"""How numbers and formulas are written: typeset on a page, plain in a terminal.

Statements are written in TeX, "$\\sigma_b^2 / q^*$"; domains, mutants and the points of a counter-example, which checks
put together while they run, in the plain notation of the terminal, "sigma_b2 / q*".
"""

from __future__ import annotations

import html
import re
from itertools import cycle

import numpy as np

__all__ = ["Number", "digits", "markup", "plain", "shortfall", "symbols"]

# --- Numbers ---


def digits(x: float) -> str:
    """A number to three digits at most, in TeX where it needs an exponent or a sign."""
    if x == 0 or not np.isfinite(x):
        return "0" if x == 0 else "no number" if np.isnan(x) else r"$\infty$" if x > 0 else r"$-\infty$"
    if 1e-3 <= abs(x) < 1e6:
        text = f"{x:,.0f}" if abs(x) >= 1000 else f"{x:.3g}"
        return f"${text}$" if x < 0 else text
    mantissa, exponent = f"{x:.1e}".split("e")
    power = f"10^{{{int(exponent)}}}"
    return f"${power}$" if mantissa == "1.0" else rf"${mantissa.removesuffix('.0')} \times {power}$"


_WORDS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]


class Number(float):
    """A number inside a sentence, with three digits.

    `:points` for a share in percentage points, `:power` for a log10, `:count` for how many: a word up to twelve.
    """

    def __format__(self, spec: str) -> str:
        if spec == "count":
            return _WORDS[int(self)] if self < len(_WORDS) else f"{self:,.0f}"
        if spec == "points":
            return f"{100 * self:.1f} points".replace("-", "−")
        if spec == "power":
            return f"$10^{{{float(self):.1f}}}$"
        return format(float(self), spec).replace("-", "−") if spec else digits(float(self))


def shortfall(measured: float, bound: float, *, strict: bool) -> str:
    """By what a comparison fails, in the notation of the terminal."""
    if np.isnan(measured) or np.isnan(bound):
        return "the result is not a number"
    found, allowed = (f"{x + 0.0:.3g}".replace("inf", "∞") for x in (measured, bound))  # + 0: no "-0"
    if measured == bound:
        return f"{found} is reached, and must not be"
    if found == allowed:
        return f"{allowed} is exceeded by {measured - bound:.1e}"
    return f"{found}, where {'less than' if strict else 'at most'} {allowed} is allowed"


# --- Formulas ---

_TO_PLAIN = (
    (r"\\sigma_b\^2", "sigma_b2"), (r"\\sigma_w\^2", "sigma_w2"), (r"q\^\*", "q*"), (r"\\rho\^\*", "rho*"),
    (r"\\(?:operatorname|mathbb|mathrm|text)\{(\w+)\}", r"\1"), (r"\\sqrt\{([^{}]*)\}", r"sqrt(\1)"),
    (r"\\times 10\^\{([^{}]*)\}", r"* 10^\1"), (r"\\le\b", "<="), (r"\\ge\b", ">="), (r"\\to\b", "->"),
    (r"\\(?:cdot|times)\b", "*"), (r"\\infty", "infinity"), (r"\\pm\b", "±"),
    (r"\\E(?=\\)", "E "), (r"\\[,;! ]", " "), (r"\\(?:left|right)\b", ""),
    (r"\\([a-zA-Z]+)", r"\1"), (r"\\([|{}])", r"\1"), (r"\^\{(\w|-?\d+)\}", r"^\1"), (r"\^\{([^{}]*)\}", r"^(\1)"),
    (r"[{}$]", ""),
)  # fmt: skip


def plain(text: str) -> str:
    """TeX as the terminal shows it: "$\\sigma_b^2 \\le 1$" is "sigma_b2 <= 1"."""
    for pattern, words in _TO_PLAIN:
        text = re.sub(pattern, words, text)
    return re.sub(r"  +", " ", text)


def markup(text: str) -> str:
    """A sentence with TeX between dollars as HTML: MathJax reads what stands between \\( and \\)."""
    pieces = html.escape(text, quote=False).split("$")
    return "".join(
        "\\(" + re.sub(r"\\E(?![a-zA-Z])", r"\\mathbb{E}", piece) + "\\)" if odd else symbols(piece, escaped=True)
        for odd, piece in zip(cycle((False, True)), pieces, strict=False)
    )


_GREEK = {
    "alpha": "α", "chi": "χ", "delta": "δ", "epsilon": "ε", "lambda": "λ", "mu": "μ", "nu": "ν", "phi": "φ", "pi": "π",
    "rho": "ρ", "sigma": "σ",
}  # fmt: skip
_TO_HTML = (
    (r"\bsigma_([wb])2\b", r"σ<sub>\1</sub><sup>2</sup>"),
    (r"\bresults/([\w.-]+)", r"<code>results/\1</code>"),
    (r"\bleaky_relu\(slope=([\d.]+)\)", r"leaky ReLU of slope \1"),
    (r"\brelu\b", "ReLU"),
    (r"\b(elu|gelu)\(alpha=([\d.]+)\)", r"\1"),
    (r"\bs(htanh|sine|exp|saw)\(a=([\d.]+)\)", r"S\1 of radius \2"),
    (rf"(?<![a-zA-Z])({'|'.join(_GREEK)})(?![a-zA-Z])", lambda match: _GREEK[match[1]]),
    (r"\bsqrt *(?=[(\d])", "√"),
    (r"\b(\d+(?:\.\d+)?)e([+-]?)0*(\d+)", lambda m: ("" if m[1] == "1" else f"{m[1]} × ") + _power(m[2], m[3])),
    (r"\^(?:\(([^()]*)\)|(-?\w+))", lambda match: f"<sup>{(match[1] or match[2]).replace('-', '−')}</sup>"),
    (r"(?<=[a-zA-Zα-ω])_(\w+)", r"<sub>\1</sub>"),
    (r"\+-", "±"), (r"&lt;=", "≤"), (r"&gt;=", "≥"), (r"-&gt;", "→"),
    (r"(?<![\w>])-(?=[\dA-Za-zα-ω√])", "−"),
    (r" - ", " − "),
)  # fmt: skip


def _power(sign: str, exponent: str) -> str:
    return f"10<sup>{'−' if sign == '-' else ''}{exponent}</sup>"


def symbols(text: str, *, escaped: bool = False) -> str:
    """The terminal's notation as HTML: "sigma_b2 <= 1e-4" with its letters, signs and exponents."""
    text = text if escaped else html.escape(text, quote=False)
    # Code between back quotes stays as it is.
    pieces = re.split(r"`([^`]*)`", text)
    for n, piece in enumerate(pieces):
        if n % 2:
            pieces[n] = f"<code>{piece}</code>"
            continue
        for pattern, replacement in _TO_HTML:
            piece = re.sub(pattern, replacement, piece)
        pieces[n] = piece
    return "".join(pieces)
