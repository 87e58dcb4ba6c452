// Parts that refresh by themselves: [data-live] asks every two seconds through htmx. It rests while the tab is hidden,
// keeps trying while the server is away, and says so.

import { signIn } from "./forms.js";
import { toast } from "./toasts.js";
import { say } from "./words.js";

let opened = [];
const LEAVING_MS = 1_500; // what was shown is gone; whoever deleted it here is on the way to another page by then

const isLive = (event) => event.detail.elt?.matches?.("[data-live]");
const isActing = (part) => part.querySelector("form[aria-busy=true]") !== null;
const liveParts = () => document.querySelectorAll("[data-live]");

document.addEventListener("htmx:beforeRequest", (event) => {
  if (isLive(event) && (document.hidden || isActing(event.detail.elt))) event.preventDefault();
});

// What is asked for may come while a form inside is at work: its busy state is not swapped away.
document.addEventListener("htmx:beforeSwap", (event) => {
  if (isLive(event) && isActing(event.detail.elt)) event.detail.shouldSwap = false;
  opened = [...document.querySelectorAll("[data-live] details[open][id]")].map(({ id }) => id);
});

// What somebody has opened stays open.
document.addEventListener("htmx:afterSwap", () => {
  for (const id of opened) document.getElementById(id)?.setAttribute("open", "");
});

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) for (const part of liveParts()) htmx.trigger(part, "refresh");
});

document.addEventListener("htmx:afterRequest", (event) => {
  const status = event.detail.xhr?.status ?? 0;
  if (isLive(event)) showConnection(status > 0 && status < 500);
  else if (status === 0 || status >= 500) showConnection(false);
  if (status === 401) signIn();
  else if (isLive(event) && status === 404) setTimeout(() => location.reload(), LEAVING_MS);
  else if (status >= 400 && !isLive(event)) toast(say("broken_answer"), "error");
});

window.addEventListener("offline", () => showConnection(false));

function showConnection(isThere) {
  const note = document.getElementById("offline");
  if (!note || note.hidden === isThere) return;
  note.hidden = isThere;
  for (const part of liveParts()) part.classList.toggle("live-stale", !isThere);
  if (isThere || liveParts().length) return;
  setTimeout(() => (note.hidden = true), 5_000); // nothing here asks again, so the note may not stay for ever
}
