// The provider form: what the vendor's preset knows is put in, and what the vendor will see is shown while typing.

const EXAMPLE_TOKEN = "48213907"; // a sticky token has eight digits
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
  form.addEventListener("input", () => preview(form));
  form.querySelector("[data-preset-notes]").textContent = last.notes;
  preview(form);
});

// A value that somebody typed stays; one that came from the preset before is replaced.
function apply(form, facts, before) {
  const protocol = form.elements.protocol.value;
  const wanted = { ...facts.fields, port: facts.ports[protocol] };
  const previous = { ...before.fields, port: before.ports?.[protocol] };
  for (const [name, value] of Object.entries(wanted)) {
    const field = form.elements[name];
    const untouched = field.value === "" || field.tagName === "SELECT" || field.value === String(previous[name] ?? "");
    if (untouched) field.value = value ?? "";
  }
  form.querySelector("[data-preset-notes]").textContent = facts.notes;
  form.querySelector("[data-more]").open ||= facts.is_open;
  preview(form);
}

function preview(form) {
  const { username, region, country, username_template } = form.elements;
  const values = {
    username: username.value || "user", password: "•••", session: EXAMPLE_TOKEN, lifetime: "1440",
    country: country.value.toLowerCase(), region: region.value.toLowerCase(),
  };
  const line = form.querySelector("[data-preview-line]");
  line.hidden = username_template.value === "";
  form.querySelector("[data-preview]").textContent =
    username_template.value.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}
