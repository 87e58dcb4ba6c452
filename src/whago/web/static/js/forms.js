// Forms that act: <form data-api="POST /api/v1/chips"> sends its fields as JSON and shows busy, done or failed.
//
//   data-go="/chips/{id}"      where to go when it is done (names come from the answer)
//   data-refresh="#chips"      what shows the change when it is done
//   data-done="Saved."         what is said when it is done
//   <template data-done-if="gateway">    shown instead of the form when the answer holds that value
//   <template data-error="chip_limit">   added to the message of that error (instead of it: data-alone)
//   <template data-next="totp_required"> the form's next step, when the answer is that it needs one
// Fields: data-type="int|decimal|json|bool|list", data-blank="null|empty|omit" (what an empty field means; omit if not said).
// Checkboxes of one name: data-type="item" for each value of a list; data-type="all" for null instead of the list.

import { call, isSigningIn } from "./api.js";
import { filled } from "./fill.js";
import { toast } from "./toasts.js";
import { say } from "./words.js";

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.matches("form[data-api]")) return;
  event.preventDefault();
  if (form.getAttribute("aria-busy") !== "true") submit(form, event.submitter);
});

for (const name of ["DOMContentLoaded", "htmx:load"]) {
  document.addEventListener(name, () => {
    for (const form of document.querySelectorAll("form[data-auto]")) {
      form.removeAttribute("data-auto");
      form.requestSubmit();
    }
  });
}

async function submit(form, submitter) {
  const [method, path] = (submitter?.dataset.api ?? form.dataset.api).split(" ");
  const hasBody = method !== "DELETE" && method !== "GET";
  clearErrors(form);
  busy(form, submitter, true);
  const answer = await call(method, path, hasBody ? collect(form) : undefined);
  busy(form, submitter, false);
  if (answer.ok) done(form, answer.body);
  else if (answer.status === 401 && !isSigningIn(path)) signIn();
  else failed(form, answer.body.error ?? { code: "internal", message: say("broken_answer"), details: {} });
}

export function collect(form) {
  const body = {};
  for (const field of form.elements) {
    if (!field.name || field.disabled || (field.type === "radio" && !field.checked)) continue;
    if (field.dataset.type === "item") { listed(body, field); continue; }
    if (field.dataset.type === "all") continue;
    const value = read(field);
    if (value !== undefined) put(body, field.name, value);
  }
  for (const all of form.querySelectorAll("[data-type=all]:checked")) body[all.name] = null;
  return body;
}

// A checkbox of a list: its value is in it or not.
function listed(body, field) {
  body[field.name] ??= [];
  if (field.checked) body[field.name].push(field.value);
}

function read(field) {
  if (field.type === "checkbox") return field.checked;
  const text = field.type === "password" ? field.value : field.value.trim();
  if (text === "") return { null: null, empty: [] }[field.dataset.blank];
  if (field.dataset.type === "int") return Number.isNaN(Number(text)) ? text : Number(text);
  if (field.dataset.type === "decimal") return decimal(text);
  if (field.dataset.type === "bool") return text === "true";
  if (field.dataset.type === "list") return text.split(",").map((one) => one.trim()).filter((one) => one !== "");
  if (field.dataset.type === "json") return JSON.parse(text);
  return text;
}

// "1.234,56" and "1234.56" are the same amount.
const decimal = (text) => (text.includes(",") ? text.replaceAll(".", "").replace(",", ".") : text);

function put(body, name, value) {
  const path = name.split(".");
  const last = path.pop();
  path.reduce((at, part) => (at[part] ??= {}), body)[last] = value;
}

function busy(form, submitter, on) {
  const button = submitter ?? form.querySelector("[type=submit], button:not([type])");
  form.setAttribute("aria-busy", on);
  button?.setAttribute("aria-busy", on);
}

function done(form, body) {
  const next = [...form.querySelectorAll("template[data-done-if]")].find((one) => body[one.dataset.doneIf]);
  const otherwise = form.querySelector("template[data-done-else]");
  refresh(form.dataset.refresh);
  if (next ?? otherwise) return replaceForm(form, filled(next ?? otherwise, body));
  if (form.dataset.go) return go(form.dataset.go, body, form.dataset.done);
  if (form.dataset.done) toast(form.dataset.done);
  form.closest("dialog")?.close();
}

function replaceForm(form, content, target = form.closest("dialog") ? form : form.parentElement) {
  target.replaceChildren(content);
  (target.querySelector("[autofocus]") ?? target.querySelector("button, a"))?.focus();
}

function go(place, body, message) {
  if (message) sessionStorage.setItem("toast", message);
  location.assign(place.replace(/\{(\w+)\}/g, (whole, name) => encodeURIComponent(body[name] ?? "")));
}

export function refresh(selectors) {
  for (const element of selectors ? document.querySelectorAll(selectors) : []) htmx.trigger(element, "refresh");
}

export const signIn = () => location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);

function failed(form, { code, message, details }) {
  const next = form.querySelector(`template[data-next="${CSS.escape(code)}"]`);
  if (next) return replaceForm(form, filled(next, details ?? {}), form);
  const unplaced = placeFieldErrors(form, details?.fields ?? {});
  const explanation = form.querySelector(`template[data-error="${CSS.escape(code)}"]`);
  const box = form.querySelector("[data-errors]");
  if (!box) return toast(message, "error");
  box.hidden = false;
  const heading = Object.assign(document.createElement("strong"), { textContent: message });
  const lines = unplaced.map(([name, text]) =>
    Object.assign(document.createElement("span"), { textContent: `${name}: ${text}` }),
  );
  box.querySelector("[data-error-text]").replaceChildren(
    ...(explanation?.dataset.alone === undefined ? [heading] : []), ...lines,
    ...(explanation ? [filled(explanation, details ?? {})] : []),
  );
  const first = form.querySelector("[aria-invalid=true]");
  if (first) first.focus();
  else box.scrollIntoView({ block: "nearest" });
}

function placeFieldErrors(form, fields) {
  return Object.entries(fields).filter(([name, text]) => {
    const field = form.elements[name] ?? form.elements[`credentials.${name}`];
    const slot = field?.id ? document.getElementById(`${field.id}-error`) : null;
    if (!slot) return true;
    slot.textContent = text;
    field.setAttribute("aria-invalid", "true");
    return false;
  });
}

function clearErrors(form) {
  const box = form.querySelector("[data-errors]");
  if (box) box.hidden = true;
  for (const field of form.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
  for (const slot of form.querySelectorAll(".field-error")) slot.textContent = "";
}
