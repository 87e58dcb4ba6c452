// The values of a band's stretches, on hover and on tap: <rect data-tip="187.19.204.31" data-tip-more="12 days · …">.

let shown = null; // the band and the number of the stretch, so that the page's refreshing does not take it away

document.addEventListener("pointerover", find);
document.addEventListener("pointerdown", find);
document.addEventListener("htmx:afterSwap", () => {
  const stretch = shown && document.querySelectorAll(`#${CSS.escape(shown.band)} [data-tip]`)[shown.number];
  if (stretch) show(stretch);
});

function find(event) {
  const stretch = event.target.closest?.("[data-tip]");
  for (const box of document.querySelectorAll("[data-band-tip]")) box.hidden = true;
  shown = null;
  if (!stretch) return;
  const band = stretch.closest(".band");
  shown = { band: band.id, number: [...band.querySelectorAll("[data-tip]")].indexOf(stretch) };
  show(stretch);
}

function show(stretch) {
  const line = stretch.closest(".band-line");
  const box = line.querySelector("[data-band-tip]");
  const title = Object.assign(document.createElement("strong"), { textContent: stretch.dataset.tip });
  const more = Object.assign(document.createElement("span"), { textContent: stretch.dataset.tipMore });
  box.replaceChildren(title, more);
  box.hidden = false;
  place(box, stretch.getBoundingClientRect(), line.getBoundingClientRect());
}

function place(box, stretch, line) {
  const middle = stretch.left + stretch.width / 2 - line.left;
  const left = Math.min(Math.max(middle - box.offsetWidth / 2, 0), Math.max(line.width - box.offsetWidth, 0));
  box.style.transform = `translate(${left}px, ${line.height + 6}px)`;
}
