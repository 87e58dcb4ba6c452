// The provider form: the vendor's preset says which fields there are and fills them in; what the vendor will see for an
// example chip is asked of the server while somebody types, because the rule that makes it is there.

import { call } from "./api.js";
import { collect } from "./forms.js";

const PREVIEW = "/api/v1/admin/proxies/providers/preview";
const PREVIEWED = ["preset", "username", "username_template", "password_template", "country", "country_form", "region"];
const REST_MS = 200; // after the last key

const known = (form) => JSON.parse(form.elements.preset.selectedOptions[0].dataset.preset);

document.addEventListener("htmx:afterSwap", (event) => {
  const form = event.detail.target.querySelector?.("form[data-provider-form]");
  if (!form) return;
  const isNew = form.dataset.api.startsWith("POST");
  if (isNew) apply(form, known(form), {});
  let last = known(form);
  form.elements.preset.addEventListener("change", () => {
    apply(form, known(form), last);
    last = known(form);
  });
  form.elements.protocol.addEventListener("change", () => {
    const { port, protocol } = form.elements;
    const { ports } = known(form);
    const isTheVendors = Object.values(ports).map(String).includes(port.value);
    if (isTheVendors) port.value = ports[protocol.value] ?? "";
  });
  const strict = form.querySelector("[data-strict]");
  strict.addEventListener("change", () => {
    const { fields, strict: templates } = known(form);
    for (const name of Object.keys(templates)) form.elements[name].value = (strict.checked ? templates : fields)[name];
  });
  form.addEventListener("input", () => previewSoon(form));
  show(form, last);
  previewSoon(form);
});

// A value that somebody typed stays; one that came from the preset before is replaced.
function apply(form, facts, before) {
  const protocol = form.elements.protocol.value;
  const wanted = { ...facts.fields, port: facts.ports[protocol] };
  const previous = { ...before.fields, port: before.ports?.[protocol] };
  const strictBefore = before.strict ?? {};
  for (const [name, value] of Object.entries(wanted)) {
    const field = form.elements[name];
    const itsOwn = [previous[name], strictBefore[name]].map((one) => String(one ?? ""));
    const untouched = field.value === "" || field.tagName === "SELECT" || itsOwn.includes(field.value);
    if (untouched) field.value = value ?? "";
  }
  form.querySelector("[data-more]").open ||= facts.is_open;
  show(form, facts);
  previewSoon(form);
}

// What the vendor has no use for is neither shown nor sent.
function show(form, facts) {
  for (const part of form.querySelectorAll("[data-when]")) {
    part.hidden = !facts.shows.includes(part.dataset.when);
    for (const field of part.querySelectorAll("input, select")) field.disabled = part.hidden;
  }
  const { username_template, password_template } = form.elements;
  form.querySelector("[data-strict]").checked =
    facts.shows.includes("strict") &&
    username_template.value === facts.strict.username_template && password_template.value === facts.strict.password_template;
  form.querySelector("[data-preset-notes]").textContent = facts.notes;
}

let waiting;

function previewSoon(form) {
  clearTimeout(waiting);
  waiting = setTimeout(() => preview(form), REST_MS);
}

async function preview(form) {
  if (!form.isConnected) return;
  const given = collect(form);
  const body = Object.fromEntries(PREVIEWED.filter((name) => given[name] != null).map((name) => [name, given[name]]));
  const answer = await call("POST", PREVIEW, body);
  if (!form.isConnected) return;
  const { error } = answer.body;
  form.querySelector("[data-preview]").textContent = answer.ok ? answer.body.username : "—";
  form.querySelector("[data-preview-password]").textContent = answer.ok ? answer.body.password : "—";
  form.querySelector("[data-preview-error]").textContent =
    answer.ok ? "" : Object.values(error.details?.fields ?? {})[0] ?? error.message;
}
