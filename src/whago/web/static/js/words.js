// Sentences that scripts need, in the page's language, and numbers the way its readers write them.

export const language = document.documentElement.lang || "pt-BR";
const sentences = JSON.parse(document.getElementById("words")?.textContent ?? "{}");

export const say = (key, values = {}) =>
  (sentences[key] ?? key).replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);

const UNITS = [[1e12, "TB"], [1e9, "GB"], [1e6, "MB"], [1e3, "KB"]];

export function bytes(count, digits = 1) {
  const [size, unit] = UNITS.find(([least]) => count >= least) ?? [1, "B"];
  return `${number(count / size, size === 1 ? 0 : digits)} ${unit}`;
}

export const number = (value, digits = 0) =>
  new Intl.NumberFormat(language, { maximumFractionDigits: digits }).format(value);

// A place on an axis: without decimals where the steps are whole.
export const step = (count) => bytes(count, 1);

export const money = (value) =>
  new Intl.NumberFormat(language, { style: "currency", currency: "BRL", maximumFractionDigits: 2 }).format(value);
