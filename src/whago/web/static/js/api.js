// Calls of our own JSON API: with the CSRF token, in the page's language, with one silent renewal of the sign-in.

import { language, say } from "./words.js";

const PATIENCE_MS = 30_000; // a provider's test waits for the provider; nothing here takes longer

export async function call(method, path, body) {
  const first = await send(method, path, body);
  if (first.status !== 401 || isSigningIn(path)) return first;
  return (await renewed()) ? send(method, path, body) : first;
}

export const isSigningIn = (path) => /\/auth\/(login|register|forgot-password|reset-password)$/.test(path);

// Any page visit renews the access cookie without using up the refresh token, so two tabs never race for it.
const renewed = () => fetch("/renew").then((answer) => answer.ok, () => false);

async function send(method, path, body) {
  const headers = { Accept: "application/json", "Accept-Language": language, "X-CSRF-Token": csrfToken() };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  try {
    const answer = await fetch(path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    return { ok: answer.ok, status: answer.status, body: await readJson(answer) };
  } catch {
    return { ok: false, status: 0, body: failure("offline", say("offline_action")) };
  }
}

async function readJson(answer) {
  const text = await answer.text();
  if (text === "") return {};
  try {
    return JSON.parse(text);
  } catch {
    return failure("internal", say("broken_answer"));
  }
}

const failure = (code, message) => ({ error: { code, message, details: {} } });

const csrfToken = () => /(?:^|; )whago_csrf=([^;]*)/.exec(document.cookie)?.[1] ?? "";
