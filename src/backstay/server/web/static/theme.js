// Before the first paint: the theme that the viewer chose, or the system's.
(() => {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    let chosen = null;
    try { chosen = localStorage.getItem("theme"); } catch { /* a browser that keeps nothing */ }
    const theme = chosen === "light" || chosen === "dark" ? chosen : system.matches ? "dark" : "light";
    document.documentElement.dataset.bsTheme = theme;
    document.documentElement.dataset.themeChoice = chosen || "system";
  };
  apply();
  system.addEventListener("change", apply);
  window.addEventListener("theme-chosen", apply);
})();
