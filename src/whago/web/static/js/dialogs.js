// Dialogs come from the server into one slot: <button hx-get="/chips/new" hx-target="#dialog">. The browser keeps the
// focus inside and gives it back; closing empties the slot, so that nothing shown once stays in the page.

const dialog = document.getElementById("dialog");

document.addEventListener("htmx:afterSwap", (event) => {
  if (event.detail.target !== dialog || !dialog.firstElementChild) return;
  dialog.classList.toggle("dialog-wide", dialog.querySelector("[data-wide]") !== null);
  if (!dialog.open) dialog.showModal();
  (dialog.querySelector("[autofocus]") ?? dialog.querySelector(".dialog-body input, .dialog-foot button"))?.focus();
});

dialog?.addEventListener("close", () => dialog.replaceChildren());

dialog?.addEventListener("click", (event) => {
  if (event.target.closest("[data-close]")) dialog.close();
});

// A click on the backdrop closes, unless something was typed or something is under way.
dialog?.addEventListener("pointerdown", (event) => {
  if (event.target !== dialog || dialog.querySelector("[aria-busy=true], [data-keep]")) return;
  if (!isInside(event, dialog.getBoundingClientRect()) && !edited()) dialog.close();
});

dialog?.addEventListener("cancel", (event) => {
  if (dialog.querySelector("[aria-busy=true]")) event.preventDefault();
});

const isInside = ({ clientX: x, clientY: y }, box) => x >= box.left && x <= box.right && y >= box.top && y <= box.bottom;

const edited = () =>
  [...dialog.querySelectorAll("input:not([type=hidden]), textarea")].some((field) => field.value !== field.defaultValue);
