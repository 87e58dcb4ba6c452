// A chart is drawn from the table beside it, so that there is one source and it can be read without a picture.
//
//   <figure data-chart="#table-id">   rows, the latest first: <tr data-at="2026-11-24" data-label="24 Nov"
//                                     data-day="Tuesday, …" data-bytes="…" data-cost="R$ …">

import { bytes } from "./words.js";

const drawn = new Map();

export function draw(figure) {
  const rows = [...document.querySelectorAll(`${figure.dataset.chart} tbody tr[data-at]`)].map((row) => row.dataset).reverse();
  drawn.get(figure)?.destroy();
  figure.replaceChildren();
  if (!rows.length) return;
  const values = rows.map((row) => Number(row.bytes));
  const plot = new uPlot(options(figure, rows), [values.map((_, index) => index), values], figure);
  drawn.set(figure, plot);
}

function options(figure, rows) {
  const style = getComputedStyle(figure);
  const [line, grid, text] = ["--data-1", "--data-grid", "--data-text"].map((name) => style.getPropertyValue(name));
  const font = `12px ${style.fontFamily}`;
  const every = Math.max(1, Math.ceil(rows.length / (figure.clientWidth / 64)));
  return {
    width: figure.clientWidth,
    height: figure.clientHeight,
    legend: { show: false },
    cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
    padding: [8, 18, 0, 0],
    scales: {
      x: { time: false, range: [-0.6, rows.length - 0.4] },
      y: { range: (_, low, high) => [0, Math.max(high * 1.1, 1000)] },
    },
    axes: [
      {
        stroke: text, font, grid: { show: false }, ticks: { show: false }, gap: 4, size: 26,
        splits: () => rows.map((_, index) => index).filter((index) => (rows.length - 1 - index) % every === 0),
        values: (_, splits) => splits.map((index) => rows[index]?.label ?? ""),
      },
      {
        stroke: text, font, grid: { stroke: grid, width: 1 }, ticks: { show: false }, size: 64, gap: 8,
        values: (_, splits) => splits.map((count) => (count === 0 ? "0" : bytes(count))), space: 44,
        incrs: niceSteps(),
      },
    ],
    series: [{}, { fill: line, paths: uPlot.paths.bars({ size: [0.68, 36], radius: 0.2 }), points: { show: false } }],
    plugins: [tip(rows)],
  };
}

const niceSteps = () => Array.from({ length: 13 }, (_, power) => [1, 2, 2.5, 5].map((step) => step * 10 ** power)).flat();

function tip(rows) {
  const box = Object.assign(document.createElement("div"), { className: "chart-tip", hidden: true });
  return {
    hooks: {
      init: (plot) => plot.over.append(box),
      setCursor: (plot) => {
        const row = rows[plot.cursor.idx ?? -1];
        box.hidden = !row || plot.cursor.left < 0;
        if (box.hidden) return;
        const title = Object.assign(document.createElement("strong"), { textContent: row.day ?? row.label });
        box.replaceChildren(title, `${bytes(Number(row.bytes), 2)} · ${row.cost}`);
        const at = plot.valToPos(plot.cursor.idx, "x");
        const left = Math.min(Math.max(at - box.offsetWidth / 2, 0), plot.over.clientWidth - box.offsetWidth);
        box.style.transform = `translateX(${left}px)`;
      },
    },
  };
}

const watcher = new ResizeObserver((entries) => {
  for (const { target, contentRect } of entries) if (contentRect.width > 0) draw(target);
});

function watch() {
  for (const figure of document.querySelectorAll("[data-chart]")) watcher.observe(figure);
}

const drawAll = () => document.querySelectorAll("[data-chart]").forEach(draw);

watch();
document.addEventListener("htmx:load", watch);
document.addEventListener("htmx:afterSwap", (event) => {
  // In the same task as the swap, so that nobody sees the page without its chart.
  const figure = event.target.querySelector?.("[data-chart]");
  if (figure) draw(figure);
});
document.addEventListener("whago:theme", drawAll);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
