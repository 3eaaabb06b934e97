// A formula, table or figure that is wider than the text scrolls in its own box; where more is to come at its right, the
// class afli-more fades it out there.
"use strict";
document.addEventListener("DOMContentLoaded", async () => {
  await window.MathJax?.startup?.promise;
  const boxes = ".bd-article :is(mjx-container[display='true'], div.math, pre, figure, .cell_output, .image, " +
    ".pst-scrollable-table-container)";
  for (const box of document.querySelectorAll(boxes)) {
    const mark = () => {
      const scrolls = ["auto", "scroll"].includes(getComputedStyle(box).overflowX);
      box.classList.toggle("afli-more", scrolls && box.scrollLeft + box.clientWidth < box.scrollWidth - 3);
    };
    box.addEventListener("scroll", mark, {passive: true});
    new ResizeObserver(mark).observe(box);
  }
});
