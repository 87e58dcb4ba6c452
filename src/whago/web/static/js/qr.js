// The pairing code of a chip. It asks every two seconds while the place for it is on the page and the tab is visible,
// and draws into a shadow root, which the page's own refreshing leaves alone.

import { encode } from "../vendor/uqr/uqr.js";
import { call } from "./api.js";

const EVERY_MS = 2_000;
const SVG = "http://www.w3.org/2000/svg";
let shown = null;

async function ask() {
  const place = document.querySelector("[data-qr-of]");
  if (place && !document.hidden) show(place, (await call("GET", `/chips/${place.dataset.qrOf}/qr`)).body);
  setTimeout(ask, EVERY_MS);
}

function show(place, { qr }) {
  const root = place.shadowRoot ?? place.attachShadow({ mode: "open" });
  const waiting = place.parentElement?.querySelector("[data-qr-waiting]");
  if (waiting) waiting.hidden = Boolean(qr);
  if (qr === shown && root.firstChild) return;
  shown = qr;
  root.replaceChildren(...(qr ? [drawing(qr, place.dataset.label)] : []));
}

function drawing(text, label) {
  const { data, size } = encode(text, { border: 2 });
  const svg = element("svg", { viewBox: `0 0 ${size} ${size}`, width: 272, height: 272, role: "img", "aria-label": label });
  const dark = data.flatMap((row, y) => row.map((on, x) => (on ? `M${x} ${y}h1v1h-1z` : ""))).join("");
  svg.append(
    element("rect", { width: size, height: size, fill: "#fff", rx: 1.5 }),
    element("path", { d: dark, fill: "#000", "shape-rendering": "crispEdges" }),
  );
  return svg;
}

function element(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

ask();
