// <button data-copy="#id"> copies the text of that element and says so on the button.

import { say } from "./words.js";

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const source = document.querySelector(button.dataset.copy);
  const copied = await copy(source);
  const label = button.querySelector("[data-copy-label]") ?? button;
  const before = label.textContent;
  label.textContent = say(copied ? "copied" : "copy_by_hand");
  setTimeout(() => (label.textContent = before), 2_000);
});

async function copy(source) {
  try {
    await navigator.clipboard.writeText(source.innerText.trim());
    return true;
  } catch {
    getSelection().selectAllChildren(source); // no permission, or not a secure page: marked, ready for Ctrl+C
    return false;
  }
}
