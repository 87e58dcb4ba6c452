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
  const box = dialog.getBoundingClientRect();
  const inside = event.clientX >= box.left && event.clientX <= box.right && event.clientY >= box.top && event.clientY <= box.bottom;
  if (!inside && !edited()) dialog.close();
});

dialog?.addEventListener("cancel", (event) => {
  if (dialog.querySelector("[aria-busy=true]")) event.preventDefault();
});

const edited = () =>
  [...dialog.querySelectorAll("input, textarea")].some((field) => field.type !== "hidden" && field.value !== field.defaultValue);
