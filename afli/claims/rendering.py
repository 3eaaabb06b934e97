"""How a claim and its evidence read: HTML with typeset formulas on a page, plain words in a terminal.

Statements are written in TeX, "$\\sigma_b^2 / q^*$"; domains, mutants and the points of a counter-example, which checks
put together while they run, in the plain notation of the terminal, "sigma_b2 / q*".
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from afli.claims.ledger import Claim, Evidence, Refutation

__all__ = ["Number", "digits", "entry", "fold", "ledger_page", "markup", "part_of", "plain", "shortfall", "symbols"]

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


class Number(float):
    """A number inside a sentence: three digits; `:points` for a share in percentage points, `:power` for a log10."""

    def __format__(self, spec: str) -> str:
        if spec == "points":
            return f"{100 * self:.1f} points"
        if spec == "power":
            return f"$10^{{{float(self):.1f}}}$"
        return format(float(self), spec) if spec else digits(float(self))


def shortfall(measured: float, bound: float, *, strict: bool) -> str:
    """By what a comparison fails, in the notation of the terminal."""
    if np.isnan(measured) or np.isnan(bound):
        return "the result is not a number"
    found, allowed = f"{measured:.3g}", f"{bound:.3g}"
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
    (r"\\(?:cdot|times)\b", "*"), (r"\\infty", "infinity"), (r"\\[,;! ]", " "), (r"\\(?:left|right)\b", ""),
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
    (r"\bs(htanh|sine|exp|aw)\(a=([\d.]+)\)", r"S\1 of radius \2"),
    (rf"(?<![a-zA-Z])({'|'.join(_GREEK)})(?![a-zA-Z])", lambda match: _GREEK[match[1]]),
    (r"\bsqrt *(?=[(\d])", "√"),
    (r"\b(\d+(?:\.\d+)?)e([+-]?)0*(\d+)", lambda m: ("" if m[1] == "1" else f"{m[1]} × ") + _power(m[2], m[3])),
    (r"\^(?:\((-?[\w/]+)\)|(-?\w+))", lambda match: f"<sup>{(match[1] or match[2]).replace('-', '−')}</sup>"),
    (r"(?<=[a-zA-Zα-ω])_(\w+)", r"<sub>\1</sub>"),
    (r"\+-", "±"), (r"&lt;=", "≤"), (r"&gt;=", "≥"), (r"-&gt;", "→"),
    (r"(?<![\w>])-(?=[\dA-Za-zα-ω√])", "−"),
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


# --- One claim ---

# Marks beside the words, so that a status is told without its colour.
MARKS = {
    "holds": "✓", "holds, and sharpened": "✓+", "corrected": "±", "holds under a condition": "(✓)",
    "not reproduced": "✗", "not tested here": "?",
}  # fmt: skip


def _slug(words: str) -> str:
    return re.sub(r"\W+", "-", words)


def badge(status: str) -> str:
    """A status as a coloured word with its mark."""
    return f'<span class="status {_slug(status)}"><span aria-hidden="true">{MARKS[status]}</span> {status}</span>'


def found_here(evidence: Evidence) -> str:
    """What was found, as a sentence in TeX: the finding, where it differs from the claim, and its numbers."""
    claim = evidence.claim
    assert claim is not None, "evidence is shown after verify() has attached its claim"
    if np.isnan(evidence.measured):
        return evidence.domain
    numbers = {"measured": evidence.measured, "bound": evidence.bound, "margin": evidence.margin} | dict(
        evidence.values
    )
    sentence = claim.found.format(**{name: Number(value) for name, value in numbers.items()})
    return f"{claim.statement} {sentence}" if claim.claimed else sentence


def entry(evidence: Evidence) -> str:
    """The lines that a reader sees of a claim: status, what was claimed and by whom, what was found here."""
    claim = evidence.claim
    assert claim is not None, "evidence is shown after verify() has attached its claim"
    return (
        f'<span class="line">{badge(claim.status)} <b>Claimed</b> '
        f'<span class="source">({symbols(claim.source)})</span>: {markup(claim.claimed or claim.statement)}</span>'
        f'<span class="line"><b>Found here</b>: {markup(found_here(evidence))}</span>'
    )


def fold(evidence: Evidence) -> str:
    """A claim on its page: the entry, which opens to what was searched, what was left, and the mutants."""
    claim = evidence.claim
    assert claim is not None, "evidence is shown after verify() has attached its claim"
    details = []
    if not np.isnan(evidence.measured):
        against = f"; against {evidence.oracle}" if evidence.oracle else ""
        details += [
            ("Searched", symbols(evidence.domain + against)),
            (
                "Decided by",
                markup(f"{digits(evidence.measured)} found, {digits(evidence.bound)} allowed: {_left(evidence)}."),
            ),
        ]
    shown = {mutant.mutant for mutant in evidence.mutants}
    others = [symbols(name) for name in claim.mutants if name not in shown]
    details += [
        ("With " + symbols(m.mutant), f"refuted, as it should be: {symbols(m.found)}.") for m in evidence.mutants
    ]
    if others:
        details.append(("Also refuted, in the tests, with", "; ".join(others)))
    link = f'<a href="claims.html#{claim.anchor}">{html.escape(claim.id)}</a>'
    details.append(("In the ledger", f"{link}, <code>afli check {html.escape(claim.id)}</code>"))
    rows = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in details)
    return (
        f'<details class="claim tex2jax_process" id="evidence-{claim.anchor}">'
        f"<summary>{entry(evidence)}</summary><dl>{rows}</dl></details>"
    )


def _left(evidence: Evidence) -> str:
    return "nothing to spare" if evidence.margin == 0 else f"{digits(evidence.margin)} to spare"


def refutation(mutant: Refutation) -> str:
    """A mutant on its own: one line."""
    return (
        f'<p class="refutation tex2jax_process"><b>With {symbols(mutant.mutant)}</b> the statement is refuted, as it '
        f'should be: {symbols(mutant.found)}. <a href="claims.html#{mutant.claim.anchor}">{mutant.claim.id}</a></p>'
    )


def in_words(evidence: Evidence) -> str:
    """A claim and its evidence for the terminal."""
    claim = evidence.claim
    head = []
    if claim:
        head = [f"{claim.id} ({claim.source}): {claim.status}", f"  claimed: {plain(claim.claimed or claim.statement)}"]
        head.append(f"  found here: {plain(found_here(evidence))}")
    if np.isnan(evidence.measured):
        return "\n".join(head or [evidence.domain])
    against = f"; against {evidence.oracle}" if evidence.oracle else ""
    numbers = f"  measured {evidence.measured:.6g}, bound {evidence.bound:.6g}, margin {evidence.margin:.3g}"
    return "\n".join([*head, numbers, f"  {evidence.domain}{against}", *map(str, evidence.mutants)])


# --- The whole ledger ---

# The parts of the ledger, in the order of the Claims page; the key is what the names of their pages begin with.
PARTS = {
    "2": "Section 2: principles of initialisation",
    "3": "Section 3: linear regions",
    "4": "Section 4: experiments",
    "A": "Appendices",
    "open": "Questions that the paper leaves open",
    "II": "Beyond the paper",
    "III": "Infinite width",
    "I": "The article and the question that Part I judges",
}


def part_of(claim: Claim) -> str:
    """The key of a claim's part in PARTS."""
    prefix = claim.page.split("_")[0]
    return {"B": "A"}.get(prefix, prefix)


def ledger_page(found: Iterable[Evidence]) -> str:
    """The Claims page: counts, a filter that needs no script, a search that does, and every claim with its evidence."""
    by_part: dict[str, list[Evidence]] = {part: [] for part in PARTS}
    for evidence in found:
        assert evidence.claim is not None
        by_part.setdefault(part_of(evidence.claim), []).append(evidence)
    by_part = {part: rows for part, rows in by_part.items() if rows}
    counts = {
        part: [sum(e.claim is not None and e.claim.status == status for e in rows) for status in MARKS]
        for part, rows in by_part.items()
    }
    sections = "".join(
        f'<section data-part="{part}"><h3 id="part-{part}">{html.escape(PARTS.get(part, part))}</h3>'
        f"{''.join(_row(evidence) for evidence in rows)}</section>"
        for part, rows in by_part.items()
    )
    return (
        f'<div class="ledger tex2jax_process">{_counts(counts)}{_filters(by_part)}'
        f'<p class="nothing" hidden>No claim has all of these words.</p>{sections}</div>{_SEARCH}'
    )


def _row(evidence: Evidence) -> str:
    claim = evidence.claim
    assert claim is not None
    link = f'<a href="{claim.page}.html#evidence-{claim.anchor}">{html.escape(claim.id)}</a>'
    return (
        f'<div class="row" id="{claim.anchor}" data-status="{_slug(claim.status)}">'
        f'<span class="id">{link}</span>{entry(evidence)}</div>'
    )


def _counts(counts: Mapping[str, list[int]]) -> str:
    """How many claims of each part have each status, and in all."""
    heads = "".join(f'<th scope="col">{badge(status)}</th>' for status in MARKS)
    body = ""
    for part, row in counts.items():
        cells = "".join(f"<td>{n or '–'}</td>" for n in (*row, sum(row)))
        body += f'<tr><th scope="row"><a href="#part-{part}">{html.escape(PARTS.get(part, part))}</a></th>{cells}</tr>'
    totals = [sum(column) for column in zip(*counts.values(), strict=True)]
    foot = "".join(f"<td>{n}</td>" for n in (*totals, sum(totals)))
    return (
        f'<table class="data counts"><thead><tr><th scope="col">part</th>{heads}<th scope="col">all</th></tr></thead>'
        f'<tbody>{body}</tbody><tfoot><tr><th scope="row">all</th>{foot}</tr></tfoot></table>'
    )


def _filters(parts: Iterable[str]) -> str:
    """Two rows of radio buttons; the rules that hide what is not chosen are made with them."""
    groups = {
        "status": {_slug(status): status for status in MARKS},
        "part": {part: PARTS.get(part, part).split(":")[0] for part in parts},
    }
    boxes, rules = "", ""
    for group, choices in groups.items():
        labels = f'<label><input type="radio" name="{group}" value="all" checked> all</label>'
        for value, words in choices.items():
            labels += f'<label><input type="radio" name="{group}" value="{value}"> {html.escape(words)}</label>'
            rules += (
                f'.ledger:has([name="{group}"][value="{value}"]:checked) [data-{group}]:not([data-{group}="{value}"])'
                "{display:none}"
            )
            if group == "status":  # a part that has no such claim shows no heading
                rules += (
                    f'.ledger:has([name="status"][value="{value}"]:checked) '
                    f'section:not(:has([data-status="{value}"])){{display:none}}'
                )
        boxes += f"<fieldset><legend>{'Part' if group == 'part' else 'Status'}</legend>{labels}</fieldset>"
    return f'<form class="filters"><style>{rules}</style>{boxes}</form>'


_SEARCH = """<script>(() => {
const ledger = document.querySelector(".ledger"), rows = [...ledger.querySelectorAll(".row")];
const label = document.createElement("label"), box = document.createElement("input");
box.type = "search"; label.className = "search"; label.append("Search ", box);
ledger.querySelector(".filters").append(label);
ledger.querySelector(".filters").addEventListener("submit", event => event.preventDefault());
const texts = rows.map(row => row.textContent.toLowerCase());
box.addEventListener("input", () => {
  const words = box.value.toLowerCase().split(/\\s+/).filter(Boolean);
  rows.forEach((row, i) => { row.hidden = !words.every(word => texts[i].includes(word)); });
  ledger.querySelectorAll("section").forEach(part => { part.hidden = !part.querySelector(".row:not([hidden])"); });
  ledger.querySelector(".nothing").hidden = rows.some(row => !row.hidden);
});
})();</script>"""
