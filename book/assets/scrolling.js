// A formula, table or figure that is wider than the text scrolls in its own box; where more is to come at its right, the
// class afli-more fades it out there.
"use strict";
document.addEventListener("DOMContentLoaded", async () => {
  await window.MathJax?.startup?.promise;
  // A formula in a line of text cannot break: one that is wider than its paragraph gets a line of its own.
  const formulas = [...document.querySelectorAll(".bd-article mjx-container:not([display='true'])")];
  const fit = () => {
    for (const formula of formulas) formula.classList.remove("afli-wide");
    const wide = formulas.filter(formula => {
      const room = formula.closest("p, li, dd, td, th, div, figcaption").clientWidth;
      return room && formula.firstElementChild.getBoundingClientRect().width > room;
    });
    for (const formula of wide) formula.classList.add("afli-wide");
  };
  fit();
  addEventListener("resize", fit);
  addEventListener("click", () => requestAnimationFrame(fit));  // something may have unfolded
  const boxes = ".bd-article :is(mjx-container:is([display='true'], .afli-wide), div.math, pre, figure, .cell_output, .output, .image, " +
    "table.data, .pst-scrollable-table-container)";
  for (const box of document.querySelectorAll(boxes)) {
    const mark = () => {
      const scrolls = ["auto", "scroll"].includes(getComputedStyle(box).overflowX);
      box.classList.toggle("afli-more", scrolls && box.scrollLeft + box.clientWidth < box.scrollWidth - 3);
    };
    box.addEventListener("scroll", mark, {passive: true});
    new ResizeObserver(mark).observe(box);
  }
});
