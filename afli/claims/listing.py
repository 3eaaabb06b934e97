"""The Claims page: every claim with what was found, counted, filtered and searched without a server."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping

from afli.claims.evidence import MARKS, Claim, Evidence, badge, entry, slug
from afli.claims.wording import symbols

__all__ = ["PARTS", "chosen", "ledger_page", "part_of"]

# The parts of the ledger, in the order of the Claims page; the key is what the names of their pages begin with.
PARTS = {
    "2": "Section 2: principles of initialisation",
    "3": "Section 3: linear regions",
    "4": "Section 4: experiments",
    "A": "Appendices",
    "open": "Open questions: those that the paper leaves",
    "II": "Beyond the paper",
    "III": "Infinite width",
    "I": "Part I: the article and the question that it judges",
}


def part_of(claim: Claim) -> str:
    """The key of a claim's part in PARTS."""
    prefix = claim.page.split("_")[0]
    return {"B": "A"}.get(prefix, prefix)


def _short(part: str) -> str:
    return PARTS.get(part, part).split(":")[0]


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
        f'<section data-part="{part}"><h2 id="part-{part}">{html.escape(PARTS.get(part, part))}</h2>'
        f"{''.join(_row(evidence) for evidence in rows)}</section>"
        for part, rows in by_part.items()
    )
    return (
        f'<div class="ledger tex2jax_process">{_counts(counts)}{_filters(by_part)}'
        f'<p class="nothing" hidden>No claim has all of these words.</p>{sections}</div>{_SEARCH}'
    )


def chosen(found: Iterable[tuple[Evidence, str]]) -> str:
    """A few claims below each other, as the Claims page has them, each with the scale on which it was tried."""
    return f'<div class="ledger tex2jax_process">{"".join(_row(evidence, scale) for evidence, scale in found)}</div>'


def _row(evidence: Evidence, scale: str = "") -> str:
    claim = evidence.claim
    assert claim is not None
    link = f'<a href="{claim.page}.html#evidence-{claim.anchor}">{html.escape(claim.id)}</a>'
    last = f'<span class="line"><b>Scale</b>: {symbols(scale)}.</span>' if scale else ""
    return (
        f'<div class="entry" id="{claim.anchor}" data-status="{slug(claim.status)}">'
        f'<span class="id">{link}</span>{entry(evidence)}{last}</div>'
    )


def _counts(counts: Mapping[str, list[int]]) -> str:
    """How many claims of each part have each status, and in all."""
    heads = "".join(f'<th scope="col" class="number">{badge(status)}</th>' for status in MARKS)
    body = ""
    for part, row in counts.items():
        cells = "".join(f"<td class='number'>{n or '–'}</td>" for n in (*row, sum(row)))
        body += f'<tr><th scope="row"><a href="#part-{part}">{html.escape(_short(part))}</a></th>{cells}</tr>'
    totals = [sum(column) for column in zip(*counts.values(), strict=True)]
    foot = "".join(f"<td class='number'>{n}</td>" for n in (*totals, sum(totals)))
    heads = f'<th scope="col">part</th>{heads}<th scope="col" class="number">all</th>'
    return (
        f'<table class="data counts"><thead><tr>{heads}</tr></thead>'
        f'<tbody>{body}</tbody><tfoot><tr><th scope="row">all</th>{foot}</tr></tfoot></table>'
    )


def _filters(parts: Iterable[str]) -> str:
    """Two rows of radio buttons; the rules that hide what is not chosen are made with them."""
    groups = {
        "status": {slug(status): status for status in MARKS},
        "part": {part: _short(part) for part in parts},
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
const ledger = document.querySelector(".ledger"), rows = [...ledger.querySelectorAll(".entry")];
const label = document.createElement("label"), box = document.createElement("input");
box.type = "search"; label.className = "search"; label.append("Search ", box);
ledger.querySelector(".filters").append(label);
ledger.querySelector(".filters").addEventListener("submit", event => event.preventDefault());
const texts = rows.map(row => row.textContent.toLowerCase());
box.addEventListener("input", () => {
  const words = box.value.toLowerCase().split(/\\s+/).filter(Boolean);
  rows.forEach((row, i) => { row.hidden = !words.every(word => texts[i].includes(word)); });
  ledger.querySelectorAll("section").forEach(part => { part.hidden = !part.querySelector(".entry:not([hidden])"); });
  ledger.querySelector(".nothing").hidden = rows.some(row => !row.hidden);
});
})();</script>"""
