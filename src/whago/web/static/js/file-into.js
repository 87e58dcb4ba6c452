// A file that is chosen is read here and put into a text field: <input type="file" data-file-into="f-text">.

import { toast } from "./toasts.js";
import { say } from "./words.js";

const BYTES_MAX = 10_000_000; // what the API takes; more would only make the browser slow

document.addEventListener("change", async (event) => {
  const chooser = event.target.closest?.("[data-file-into]");
  if (!chooser?.files?.length) return;
  const field = document.getElementById(chooser.dataset.fileInto);
  const [file] = chooser.files;
  if (file.size > BYTES_MAX) return toast(say("file_too_large"), "error");
  field.value = await readText(file);
  field.dispatchEvent(new Event("input", { bubbles: true }));
});

// Spreadsheets in Brazil write Windows-1252 where they do not write UTF-8.
async function readText(file) {
  const raw = await file.arrayBuffer();
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(raw);
  } catch {
    return new TextDecoder("windows-1252").decode(raw);
  }
}
