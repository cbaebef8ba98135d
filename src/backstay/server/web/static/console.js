// What the pages need beyond HTML: times in the viewer's zone, dialogs, keys, charts, toasts. No page depends on it
// for reading, and nothing here knows a particular page.
"use strict";

const each = (root, selector, act) => {
  if (root.matches?.(selector)) act(root);
  root.querySelectorAll?.(selector).forEach(act);
};

// ---- times -----------------------------------------------------------------------------------------------------
const language = navigator.language || "en";
const clock = new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit" });
const clockSeconds = new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dayOf = new Intl.DateTimeFormat(language, { weekday: "short", day: "numeric", month: "short" });
const dayYear = new Intl.DateTimeFormat(language, { day: "numeric", month: "short", year: "numeric" });
const exact = new Intl.DateTimeFormat(language, { dateStyle: "full", timeStyle: "long" });
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "long" });

const inRelativeWords = (at, now) => {
  const seconds = (at - now) / 1000;
  const size = Math.abs(seconds);
  if (size < 45) return seconds < 0 ? "just now" : "in a moment";
  if (size < 3600) return relative.format(Math.round(seconds / 60), "minute");
  if (size < 86400) return relative.format(Math.round(seconds / 3600), "hour");
  if (size < 30 * 86400) return relative.format(Math.round(seconds / 86400), "day");
  return dayYear.format(at);
};
const inShortWords = (at, now) => {
  if (at.toDateString() === now.toDateString()) return clock.format(at);
  const far = Math.abs(at - now) > 300 * 86400000;
  return `${(far ? dayYear : dayOf).format(at)}, ${clock.format(at)}`;
};
const inDuration = (milliseconds) => {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  const [days, hours, minutes] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${minutes} min`;
  return minutes ? `${minutes} min ${seconds % 60} s` : `${seconds} s`;
};
const showTime = (element) => {
  const at = new Date(element.dateTime);
  if (Number.isNaN(at.getTime())) return;
  const now = new Date();
  const words = {
    relative: () => inRelativeWords(at, now),
    short: () => inShortWords(at, now),
    exact: () => exact.format(at),
    clock: () => clockSeconds.format(at),
    minute: () => clock.format(at),
    day: () => dayYear.format(at),
    since: () => inDuration(now - at),
  }[element.dataset.show || "relative"];
  const text = words();
  if (element.textContent !== text) element.textContent = text;
  if (!element.title) element.title = `${exact.format(at)}\n${at.toISOString().replace(".000Z", "Z")}`;
};
const showTimes = (root) => each(root, "time[datetime]", showTime);
setInterval(() => each(document, 'time[data-show="since"]', showTime), 1000);
setInterval(() => each(document, 'time[data-show="relative"]', showTime), 30000);

// ---- charts ----------------------------------------------------------------------------------------------------
const binary = (value) => {
  if (value == null) return "";
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let step = 0;
  while (Math.abs(value) >= 1024 && step < units.length - 1) { value /= 1024; step += 1; }
  return `${value >= 100 || step === 0 ? Math.round(value) : value.toFixed(1)} ${units[step]}`;
};
const formats = {
  bytes: binary,
  rate: (value) => (value == null ? "" : `${binary(value)}/s`),
  ratio: (value) => (value == null ? "" : `${value.toFixed(1)} ×`),
  number: (value) => (value == null ? "" : value.toLocaleString(language)),
};
const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const binaryGrid = [1, 2, 5, 10, 20, 50, 100, 200, 500].flatMap((n) => [n, n * 1024, n * 1024 ** 2, n * 1024 ** 3, n * 1024 ** 4])
  .sort((a, b) => a - b);

const drawChart = (element, given) => {
  const { times, series, unit = "number" } = given;
  element.uplot?.destroy();
  const format = formats[unit];
  const tip = element.parentElement.querySelector(".chart-words");
  const rest = tip?.dataset.rest ?? tip?.textContent ?? "";
  if (tip) tip.dataset.rest = rest;
  const axis = { stroke: ink("--ink-3"), font: "11px 'Inter Console', system-ui", grid: { stroke: ink("--line"), width: 1 }, ticks: { show: false } };
  const options = {
    width: element.clientWidth, height: element.clientHeight, padding: [8, 8, 0, 0],
    cursor: { y: false, points: { size: 7 }, drag: { x: false, y: false } },
    legend: { show: false },
    scales: { y: { range: (_, low, high) => [0, Math.max(high || 0, 1) * 1.08] } },
    axes: [
      { ...axis, grid: { show: false }, space: 70, size: 26, values: (_, ticks) => ticks.map((tick, at) => {
        const day = new Date(tick * 1000);
        const long = times[times.length - 1] - times[0] > 3 * 86400;
        return long ? new Intl.DateTimeFormat(language, { day: "numeric", month: "short" }).format(day)
          : times[times.length - 1] - times[0] < 600 ? clockSeconds.format(day) : clock.format(day);
      }) },
      { ...axis, size: 64, space: 34, incrs: unit === "bytes" || unit === "rate" ? binaryGrid : undefined, values: (_, ticks) => ticks.map(format) },
    ],
    series: [{}, ...series.map((one) => ({
      label: one.label, stroke: ink(`--${one.tone || "accent"}`), width: 1.75, points: { show: false }, spanGaps: true,
      fill: one.fill === false ? undefined : `color-mix(in srgb, ${ink(`--${one.tone || "accent"}`)} 12%, transparent)`,
    }))],
    hooks: { setCursor: [(plot) => {
      if (!tip) return;
      const at = plot.cursor.idx;
      tip.textContent = at == null ? rest
        : `${inShortWords(new Date(times[at] * 1000), new Date())}: ${series.map((one) => `${one.label} ${format(one.values[at])}`).join(", ")}`;
    }] },
  };
  element.uplot = new uPlot(options, [times, ...series.map((one) => one.values)], element);
};
const startChart = (element) => {
  if (element.dataset.chart) { drawChart(element, JSON.parse(element.dataset.chart)); return; }
  fetch(element.dataset.chartFrom, { headers: { Accept: "application/json" } })
    .then((answer) => (answer.ok ? answer.json() : Promise.reject(answer.status)))
    .then((given) => { element.dataset.chart = JSON.stringify(given); drawChart(element, given); })
    .catch(() => { element.textContent = "The figures could not be loaded."; });
};
const redrawCharts = () => each(document, "[data-chart]", (element) => drawChart(element, JSON.parse(element.dataset.chart)));
let resizing = 0;
window.addEventListener("resize", () => { clearTimeout(resizing); resizing = setTimeout(redrawCharts, 120); });

// A value that comes again and again with a live page: what was seen of it since the page was opened.
const livePoints = { times: [], values: [] };
const drawLive = (element) => {
  livePoints.times.push(Date.now() / 1000);
  livePoints.values.push(Number(element.dataset.value));
  if (livePoints.times.length > 600) { livePoints.times.shift(); livePoints.values.shift(); }
  drawChart(element, { times: livePoints.times, unit: "rate", series: [{ label: "Speed", values: livePoints.values }] });
};

// ---- theme -----------------------------------------------------------------------------------------------------
const themes = ["system", "light", "dark"];
const nextTheme = () => {
  const chosen = themes[(themes.indexOf(document.documentElement.dataset.themeChoice) + 1) % themes.length];
  try {
    if (chosen === "system") localStorage.removeItem("theme"); else localStorage.setItem("theme", chosen);
  } catch { /* a browser that keeps nothing */ }
  window.dispatchEvent(new Event("theme-chosen"));
  showTheme();
  redrawCharts();
  toast(chosen === "system" ? "Theme: as the system" : `Theme: ${chosen}`);
};
const showTheme = () => each(document, "[data-theme-icon]", (icon) => {
  icon.toggleAttribute("hidden", icon.dataset.themeIcon !== document.documentElement.dataset.themeChoice);
});

// ---- toasts ----------------------------------------------------------------------------------------------------
const toast = (text, tone = "info", hint = "") => {
  const box = document.getElementById("toasts");
  const line = document.getElementById("toast").content.firstElementChild.cloneNode(true);
  line.querySelector("[data-text]").textContent = text;
  line.querySelector("[data-hint]").textContent = hint;
  each(line, "[data-tone]", (icon) => { icon.toggleAttribute("hidden", icon.dataset.tone !== tone); });
  box.append(line);
  setTimeout(() => line.remove(), tone === "bad" ? 15000 : 5000);
};
document.addEventListener("toast", (event) => toast(event.detail.text, event.detail.tone, event.detail.hint));
document.addEventListener("htmx:sendError", () => toast("The server does not answer.", "bad", "Try again in a moment."));
document.addEventListener("htmx:responseError", (event) => {
  const { xhr } = event.detail;
  if (xhr.status === 401) { location.reload(); return; }
  let words = {};
  try { words = JSON.parse(xhr.responseText); } catch { /* no problem document */ }
  toast(words.title || words.detail || `The server refused (${xhr.status}).`, "bad", words.hint || "");
});

// ---- clicks ----------------------------------------------------------------------------------------------------
const openDialog = (dialog) => {
  if (!dialog.open) dialog.showModal();
  dialog.querySelector("[autofocus]")?.focus();
};
const menu = (open) => {
  document.body.classList.toggle("menu-open", open);
  document.querySelector("[data-menu-open]")?.setAttribute("aria-expanded", String(open));
  if (open) document.querySelector(".side a")?.focus();
};
document.addEventListener("click", (event) => {
  const hit = (selector) => event.target.closest?.(selector);
  let found;
  if ((found = hit("[data-dialog]"))) { event.preventDefault(); openDialog(document.getElementById(found.dataset.dialog)); }
  else if ((found = hit("[data-close]"))) found.closest("dialog, .toast-line").matches("dialog") ? found.closest("dialog").close() : found.closest(".toast-line").remove();
  else if (hit("[data-theme-toggle]")) nextTheme();
  else if (hit("[data-menu-open]")) menu(!document.body.classList.contains("menu-open"));
  else if (hit(".shade")) menu(false);
  else if ((found = hit("[data-copy]"))) copy(found);
  else if (event.target.matches?.("dialog")) event.target.close();
  else if ((found = hit("[data-remove-row]"))) { found.closest("[data-row]").remove(); document.dispatchEvent(new Event("rows-changed")); }
  else if ((found = hit("[data-add-row]"))) addRow(found.dataset.addRow);
  each(document, "details.menu[open]", (one) => { if (!one.contains(event.target)) one.open = false; });
});
const addRow = (name) => {
  const row = document.querySelector(`template[data-blank-for="${name}"]`).content.cloneNode(true);
  document.getElementById(name).append(row);
  document.getElementById(name).lastElementChild.querySelector("input, select").focus();
  document.dispatchEvent(new Event("rows-changed"));
};
const copy = async (button) => {
  const text = document.getElementById(button.dataset.copy).textContent;
  try {
    await navigator.clipboard.writeText(text);
    toast("Copied", "good");
  } catch {
    getSelection().selectAllChildren(document.getElementById(button.dataset.copy));
    toast("Selected: press Ctrl+C to copy", "info");
  }
};

// What destroys something asks for its name first.
document.addEventListener("input", (event) => {
  const field = event.target;
  if (field.dataset?.mustBe !== undefined) {
    field.form.querySelector("[data-guarded]").disabled = field.value.trim() !== field.dataset.mustBe;
  }
  if (field.dataset?.filterRows !== undefined) {
    const wanted = field.value.trim().toLowerCase();
    each(document.getElementById(field.dataset.filterRows), "tbody tr", (row) => { row.hidden = !row.textContent.toLowerCase().includes(wanted); });
  }
});
document.addEventListener("change", (event) => {
  const field = event.target;
  if (field.dataset?.submits !== undefined) field.form.requestSubmit();
  if (field.dataset?.checkAll !== undefined) each(field.closest("table"), "tbody input[type=checkbox]", (one) => { one.checked = field.checked; });
  if (field.dataset?.rowKind !== undefined) field.closest("[data-row]").dataset.kind = field.value;
  if (field.dataset?.shows !== undefined) showDependents(field.form);
});
const showDependents = (form) => each(form, "[data-when]", (part) => {
  const [name, ...values] = part.dataset.when.split(" ");
  const field = form.elements[name];
  const value = field?.type === "checkbox" ? String(field.checked) : field?.value;
  part.hidden = !values.includes(value);
});

// What is chosen in a list of files; where nothing is, the folder itself counts.
const showChosen = (form) => {
  const chosen = form.querySelectorAll("tbody input[name=path]:checked").length;
  form.querySelector("[data-whole]").disabled = chosen > 0;
  each(document, "[data-chosen-count]", (one) => { one.textContent = chosen ? ` ${chosen} chosen` : ""; });
};
document.addEventListener("change", (event) => {
  const form = event.target.form;
  if (form?.querySelector("[data-whole]")) showChosen(form);
});

// ---- keys ------------------------------------------------------------------------------------------------------
let afterG = -Infinity;
const rows = () => [...document.querySelectorAll(".list tbody tr")].filter((row) => row.querySelector("a.name") && !row.hidden);
const markRow = (step) => {
  const all = rows();
  if (!all.length) return;
  const old = all.findIndex((row) => row.classList.contains("marked"));
  all[old]?.classList.remove("marked");
  const row = all[Math.min(all.length - 1, Math.max(0, old + step))] || all[0];
  row.classList.add("marked");
  row.querySelector("a.name").focus();
  row.scrollIntoView({ block: "nearest" });
};
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") { menu(false); each(document, "details.menu[open]", (one) => { one.open = false; }); }
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input, textarea, select, dialog[open]")) return;
  if (performance.now() - afterG < 1200) {
    afterG = -Infinity;
    const link = document.querySelector(`.side-link[data-key="${CSS.escape(event.key)}"]`);
    if (link) { event.preventDefault(); location.assign(link.href); }
    return;
  }
  const act = {
    g: () => { afterG = performance.now(); },
    "?": () => openDialog(document.getElementById("keys")),
    "/": () => document.querySelector("[data-search]")?.focus(),
    j: () => markRow(1), k: () => markRow(-1),
    n: () => document.querySelector("[data-main-action]")?.click(),
    t: nextTheme,
  }[event.key];
  if (act) { event.preventDefault(); act(); }
});

// ---- start -----------------------------------------------------------------------------------------------------
const start = (root) => {
  showTimes(root);
  each(root, "[data-chart], [data-chart-from]", startChart);
  each(root, "[data-live-chart]", drawLive);
  each(root, "form:has([data-when])", showDependents);
  each(root, "dialog[data-open-now]", openDialog);
  each(root, "[data-toast-now]", (one) => { toast(one.dataset.toastNow, one.dataset.tone, one.dataset.hint); one.remove(); });
  each(root, "input[data-time-zone]", (one) => { one.value ||= Intl.DateTimeFormat().resolvedOptions().timeZone; });
  each(root, ".log[data-follow]", (one) => { one.scrollTop = one.scrollHeight; });
};
document.cookie = `zone=${encodeURIComponent(Intl.DateTimeFormat().resolvedOptions().timeZone)}; path=/; max-age=31536000; samesite=lax`;
document.addEventListener("DOMContentLoaded", () => { showTheme(); start(document); });
document.addEventListener("htmx:load", (event) => start(event.detail.elt));
