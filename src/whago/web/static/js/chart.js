// A chart is drawn from the table beside it, so that there is one source and it can be read without a picture.
//
//   <figure data-chart="#table-id">   <table data-parts='["Sales", "Support"]'> (none: one part), rows, the latest first:
//     <tr data-at="2026-11-24" data-label="24 Nov" data-day="Tuesday, …" data-bytes="12 3" data-cost="0.3 0.07">
//   <button data-measure="bytes|cost">   what is drawn; kept while the tab is open

import { bytes, money, step } from "./words.js";

const drawn = new Map();
const KEPT = "whago-measure";
const SAY = { bytes: (value) => bytes(value, 2), cost: money };
const AXIS = { bytes: step, cost: money };
const LEAST = { bytes: 1000, cost: 0.01 };

const measure = () => sessionStorage.getItem(KEPT) ?? "bytes";

export function draw(figure) {
  const table = document.querySelector(figure.dataset.chart);
  drawn.get(figure)?.destroy();
  figure.replaceChildren();
  showMeasure();
  const rows = [...(table?.querySelectorAll("tbody tr[data-at]") ?? [])].map(read).reverse();
  if (!rows.length || !figure.clientWidth) return;
  const names = JSON.parse(table.dataset.parts ?? "[]");
  const what = figure.closest(".card")?.querySelector("[data-measure]") ? measure() : "bytes";
  drawn.set(figure, new uPlot(options(figure, rows, names, what), columns(rows, what), figure));
}

const read = ({ dataset }) => ({
  label: dataset.label,
  day: dataset.day,
  bytes: dataset.bytes.split(" ").map(Number),
  cost: dataset.cost.split(" ").map(Number),
});

// Each part stands on those after it: the highest is drawn first, the next over it.
function columns(rows, what) {
  const stacked = rows.map((row) => row[what].map((_, part) => sum(row[what].slice(part))));
  return [rows.map((_, index) => index), ...rows[0][what].map((_, part) => stacked.map((heights) => heights[part]))];
}

const sum = (values) => values.reduce((total, value) => total + value, 0);

function options(figure, rows, names, what) {
  const style = getComputedStyle(figure);
  const colour = (name) => style.getPropertyValue(name);
  const font = `12px ${style.fontFamily}`;
  const every = Math.max(1, Math.ceil(rows.length / (figure.clientWidth / 64)));
  const fill = (_, part) => colour(names.length ? `--data-${part === 6 ? 7 : part + 1}` : "--data-1");
  return {
    width: figure.clientWidth,
    height: figure.clientHeight,
    legend: { show: false },
    cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
    padding: [8, 18, 0, 0],
    scales: {
      x: { time: false, range: [-0.6, rows.length - 0.4] },
      y: { range: (_, low, high) => [0, Math.max(high * 1.1, LEAST[what])] },
    },
    axes: [
      {
        stroke: colour("--data-text"), font, grid: { show: false }, ticks: { show: false }, gap: 4, size: 26,
        splits: () => rows.map((_, index) => index).filter((index) => (rows.length - 1 - index) % every === 0),
        values: (_, splits) => splits.map((index) => rows[index]?.label ?? ""),
      },
      {
        stroke: colour("--data-text"), font, grid: { stroke: colour("--data-grid"), width: 1 }, ticks: { show: false },
        size: 72, gap: 8, values: (_, splits) => splits.map((value) => (value === 0 ? "0" : AXIS[what](value))),
        space: 44, incrs: niceSteps(),
      },
    ],
    series: [
      {},
      ...rows[0][what].map((_, part) => ({
        fill: fill(_, part), paths: uPlot.paths.bars({ size: [0.68, 36], radius: names.length ? 0 : 0.2 }),
        points: { show: false },
      })),
    ],
    plugins: [tip(rows, names)],
  };
}

const niceSteps = () =>
  Array.from({ length: 16 }, (_, power) => [1, 2, 2.5, 5].map((times) => times * 10 ** (power - 2))).flat();

function tip(rows, names) {
  const box = Object.assign(document.createElement("div"), { className: "chart-tip", hidden: true });
  return {
    hooks: {
      init: (plot) => plot.over.append(box),
      setCursor: (plot) => {
        const row = rows[plot.cursor.idx ?? -1];
        box.hidden = !row || plot.cursor.left < 0;
        if (box.hidden) return;
        box.replaceChildren(...told(row, names));
        const at = plot.valToPos(plot.cursor.idx, "x");
        const left = Math.min(Math.max(at - box.offsetWidth / 2, 0), plot.over.clientWidth - box.offsetWidth);
        box.style.transform = `translateX(${left}px)`;
      },
    },
  };
}

function told(row, names) {
  const title = Object.assign(document.createElement("strong"), { textContent: row.day ?? row.label });
  const total = `${SAY.bytes(sum(row.bytes))} · ${SAY.cost(sum(row.cost))}`;
  const parts = names.flatMap((name, part) =>
    row.bytes[part] ? [line(`${name}: ${SAY.bytes(row.bytes[part])} · ${SAY.cost(row.cost[part])}`)] : [],
  );
  return [title, line(total), ...parts];
}

const line = (textContent) => Object.assign(document.createElement("span"), { textContent });

const watcher = new ResizeObserver((entries) => {
  for (const { target, contentRect } of entries) if (contentRect.width > 0) draw(target);
});

function watch() {
  for (const figure of document.querySelectorAll("[data-chart]")) watcher.observe(figure);
}

const drawAll = () => document.querySelectorAll("[data-chart]").forEach(draw);

function showMeasure() {
  for (const button of document.querySelectorAll("[data-measure]")) {
    button.setAttribute("aria-pressed", button.dataset.measure === measure());
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-measure]");
  if (!button) return;
  sessionStorage.setItem(KEPT, button.dataset.measure);
  drawAll();
});

watch();
document.addEventListener("htmx:load", watch);
document.addEventListener("htmx:afterSwap", () => {
  // In the same task as the swap, so that nobody sees the page without its chart.
  for (const figure of document.querySelectorAll("[data-chart]")) if (!figure.firstElementChild) draw(figure);
});
document.addEventListener("whago:theme", drawAll);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
