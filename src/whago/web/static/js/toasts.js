// A short word when something is done. It is read out, and it leaves by itself.

const STAYS_MS = 5_000;

export function toast(text, level = "success") {
  const shelf = document.getElementById("toasts");
  const note = Object.assign(document.createElement("div"), { className: "toast", textContent: text });
  note.dataset.level = level;
  shelf.append(note);
  // Above an open dialog: the shelf is a popover, so it lives in the top layer and comes last.
  if (shelf.matches(":popover-open")) shelf.hidePopover();
  shelf.showPopover();
  setTimeout(() => {
    note.remove();
    if (!shelf.childElementCount && shelf.matches(":popover-open")) shelf.hidePopover();
  }, STAYS_MS);
}

const kept = sessionStorage.getItem("toast");
if (kept) {
  sessionStorage.removeItem("toast");
  toast(kept);
}
