// Templates of the page, filled with what the API answered. Text goes in as text, never as HTML.
//
//   data-fill="gateway.proxy_url"   the element's text, or with data-fill-to="src" that attribute; "." is the item itself
//   data-each="chips"               the element's first child, once per item
//   data-if="exit_ip"               stays only when there is such a value

export function filled(template, values) {
  const copy = template.content.cloneNode(true);
  fill(copy, values);
  return copy;
}

function fill(root, values) {
  for (const element of root.querySelectorAll("[data-each]")) repeat(element, lookup(values, element.dataset.each) ?? []);
  for (const element of root.querySelectorAll("[data-if]")) if (!lookup(values, element.dataset.if)) element.remove();
  for (const element of root.querySelectorAll("[data-fill]")) {
    if (element.closest("[data-filled]")) continue;
    const value = lookup(values, element.dataset.fill) ?? "";
    if (element.dataset.fillTo) element.setAttribute(element.dataset.fillTo, value);
    else element.textContent = value;
  }
}

function repeat(element, items) {
  const model = element.firstElementChild;
  const copies = items.map((item) => {
    const copy = model.cloneNode(true);
    const holder = document.createDocumentFragment();
    holder.append(copy);
    fill(holder, item);
    copy.dataset.filled = "";
    return copy;
  });
  element.replaceChildren(...copies);
}

const lookup = (values, path) => path === "." ? values : path.split(".").reduce((at, name) => at?.[name], values);
