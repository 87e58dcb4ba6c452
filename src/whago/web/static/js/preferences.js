// Theme, language and time zone of this browser, kept in cookies that the server reads when it makes a page.

import { call } from "./api.js";

const YEAR_S = 31_536_000;
const keep = (name, value) => { // names of themes, languages and zones are safe in a cookie as they are
  const secure = location.protocol === "https:" ? "; Secure" : "";
  document.cookie = `${name}=${value}; Path=/; Max-Age=${YEAR_S}; SameSite=Lax${secure}`;
};

keep("whago_tz", Intl.DateTimeFormat().resolvedOptions().timeZone);

document.addEventListener("click", (event) => {
  const theme = event.target.closest("[data-set-theme]")?.dataset.setTheme;
  if (theme !== undefined) setTheme(theme);
  const languageButton = event.target.closest("[data-set-language]");
  if (languageButton) setLanguage(languageButton.dataset.setLanguage, languageButton.dataset.profile !== undefined);
});

async function setLanguage(language, hasProfile) {
  keep("whago_language", language);
  if (hasProfile) await call("PATCH", "/api/v1/auth/me", { language });
  location.reload();
}

function setTheme(theme) {
  keep("whago_theme", theme);
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  for (const button of document.querySelectorAll("[data-set-theme]")) {
    button.setAttribute("aria-pressed", button.dataset.setTheme === theme);
  }
  document.dispatchEvent(new Event("whago:theme"));
}
