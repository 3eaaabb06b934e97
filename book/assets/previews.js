// What a link of the text leads to, shown while it is hovered or has the focus: equations, statements, figures,
// references, sections. The texts are in _static/previews/, one script a page, loaded when first asked for; Escape
// hides them. Works from a disk, without a server.
"use strict";
var afliPreviews = {};

document.addEventListener("DOMContentLoaded", () => {
  const root = document.documentElement.dataset.content_root ?? "./";
  const here = DOCUMENTATION_OPTIONS.pagename;
  const box = document.createElement("div");
  box.className = "afli-preview";
  box.id = "afli-preview";
  box.setAttribute("role", "tooltip");
  box.hidden = true;
  document.body.append(box);
  const loading = {};
  let shownFor = null;
  let waiting = 0;

  // The page and the id that a link leads to; null for links that leave the book or name no place on a page.
  const target = link => {
    const url = new URL(link.href);
    const top = new URL(root, document.baseURI).pathname;
    if (!url.hash || url.host !== location.host || !url.pathname.startsWith(top)) return null;
    const page = url.pathname === location.pathname ? here : url.pathname.slice(top.length).replace(/\.html$/, "");
    return {page, id: decodeURIComponent(url.hash.slice(1))};
  };

  const load = page => loading[page] ??= new Promise(done => {
    const script = document.createElement("script");
    script.src = `${root}_static/previews/${page}.js`;
    script.onload = script.onerror = done;
    document.head.append(script);
  });

  const hide = () => {
    clearTimeout(waiting);
    box.hidden = true;
    shownFor?.removeAttribute("aria-describedby");
    shownFor = null;
  };

  const show = async link => {
    const {page, id} = target(link);
    await load(page);
    const text = afliPreviews[page]?.[id];
    if (!text || shownFor !== link) return;
    box.innerHTML = text;
    box.hidden = false;
    link.setAttribute("aria-describedby", box.id);
    await window.MathJax?.typesetPromise?.([box]);
    const at = link.getBoundingClientRect();
    const below = at.bottom + box.offsetHeight + 12 < innerHeight;
    box.style.left = `${Math.max(8, Math.min(at.left, innerWidth - box.offsetWidth - 8)) + scrollX}px`;
    box.style.top = `${(below ? at.bottom + 6 : Math.max(8, at.top - box.offsetHeight - 6)) + scrollY}px`;
  };

  for (const link of document.querySelectorAll(".bd-article a[href*='#']:not(.headerlink)")) {
    if (!target(link)) continue;
    const ask = () => { hide(); shownFor = link; waiting = setTimeout(() => show(link), 150); };
    link.addEventListener("mouseenter", ask);
    link.addEventListener("focus", ask);
    link.addEventListener("mouseleave", hide);
    link.addEventListener("blur", hide);
  }
  document.addEventListener("keydown", event => { if (event.key === "Escape") hide(); });
});
