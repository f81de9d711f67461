// Makes a page live. The server renders everything; this fetches the same page again when something was committed,
// puts its parts in place, and draws the chart. Text from gateways is only ever handled as text.
"use strict";

const REFRESH_MS = 1000; // at most one refresh in this time
const IDLE_MS = 15000; // and one at least, for what changes without a commit: a gateway that went silent
const POINTS = 600; // newest rows that the chart asks for
const SERIES_MAX = 8; // lines in the chart
const PLOT_HEIGHT = 270; // without its legend, in pixels
const SPAN_S = 90 * 86400; // a point further than this from the newest one came from a wrong clock

// Labels of the time axis, by the distance of its ticks: the tick, and below it what changed since the last one.
const day = ["\n{YYYY}-{MM}-{DD}", null, "\n{MM}-{DD}", null, null, null, 1];
const TIME_LABELS = [
  [31536000, "{YYYY}", null, null, null, null, null, null, 1],
  [2419200, "{YYYY}-{MM}", null, null, null, null, null, null, 1],
  [86400, "{MM}-{DD}", "\n{YYYY}", null, null, null, null, null, 1],
  [60, "{HH}:{mm}", ...day],
  [1, "{HH}:{mm}:{ss}", ...day],
  [0.001, "{ss}.{fff}", "\n{YYYY}-{MM}-{DD} {HH}:{mm}", null, "\n{MM}-{DD} {HH}:{mm}", null, "\n{HH}:{mm}", null, 1],
];

const byId = (id) => document.getElementById(id);

// --- times: told from the centre's clock, whatever the browser's says ------------------------------------------------

let clockOffset = Date.parse(document.body.dataset.now.slice(0, 23) + "Z") - Date.now();

function length(seconds) {
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

function tellTimes() {
  const now = Date.now() + clockOffset;
  for (const time of document.querySelectorAll("time")) {
    const seconds = Math.floor((now - Date.parse(time.dateTime.slice(0, 23) + "Z")) / 1000);
    time.textContent = seconds < 0 ? `in ${length(-seconds)}` : seconds === 0 ? "now" : `${length(seconds)} ago`;
  }
}

// --- parts: elements with data-live are replaced by their successors ------------------------------------------------

async function refresh() {
  const answer = await fetch(location.href, { cache: "no-store" });
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  clockOffset = Date.parse(page.body.dataset.now.slice(0, 23) + "Z") - Date.now();
  for (const part of document.querySelectorAll("[data-live]")) {
    const next = page.querySelector(`[data-live="${part.dataset.live}"]`);
    if (next && next.outerHTML !== part.outerHTML) part.replaceWith(document.adoptNode(next));
  }
  syncStreams(page);
  tellTimes();
}

let pending = null;
let refreshed = 0;

// Several commits become one refresh; the chart's stream is fetched again only if it gained rows.
let chartStale = false;

function refreshSoon() {
  if (pending !== null) return;
  const wait = Math.max(0, REFRESH_MS - (Date.now() - refreshed));
  pending = setTimeout(async () => {
    refreshed = Date.now();
    try {
      await refresh();
      if (chartStale) {
        chartStale = false;
        await loadChart();
      }
    } catch (error) {
      setLink("lost");
    } finally {
      pending = null;
    }
  }, wait);
}

// --- events -----------------------------------------------------------------------------------------------------------

function setLink(state) {
  const link = byId("link");
  link.dataset.link = state;
  link.textContent = { live: "live", lost: "connection lost, trying again" }[state];
}

function listen() {
  const events = new EventSource("/v1/events");
  const gateway = byId("chart")?.dataset.gateway;
  events.onopen = () => {
    setLink("live");
    chartStale = true;
    refreshSoon();
  };
  events.onerror = () => setLink("lost");
  events.addEventListener("commit", (event) => {
    const commit = JSON.parse(event.data);
    if (gateway && commit.gateway !== gateway) return;
    if (commit.streams.includes(byId("chart-stream")?.value)) chartStale = true;
    refreshSoon();
  });
  events.addEventListener("skipped", () => {
    chartStale = true;
    refreshSoon();
  });
}

// --- chart ------------------------------------------------------------------------------------------------------------

let plot = null;
let rows = [];

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// A stream that is new on the page becomes an option, without losing what is selected.
function syncStreams(page) {
  const select = byId("chart-stream");
  const next = page.getElementById("chart-stream");
  if (!select || !next) return;
  const known = new Set([...select.options].map((option) => option.value));
  for (const option of next.options) {
    if (!known.has(option.value)) {
      select.add(new Option(option.value));
      chartStale = true;
    }
  }
}

async function fetchRows(stream) {
  const path = `/v1/gateways/${byId("chart").dataset.gateway}/streams/${stream}/recent?limit=${POINTS}`;
  const answer = await fetch(path, { cache: "no-store" });
  return answer.ok ? (await answer.json()).rows : [];
}

// The names of numeric values in these rows, in the order of their first appearance.
function numericNames(rows) {
  const names = new Set();
  for (const row of rows) {
    for (const [name, value] of Object.entries(row.values ?? {})) if (typeof value === "number") names.add(name);
  }
  return [...names];
}

async function loadChart() {
  if (!byId("chart")) return;
  const stream = byId("chart-stream").value;
  if (!stream) return note("No rows yet.");
  rows = await fetchRows(stream);
  const names = numericNames(rows);
  const select = byId("chart-value");
  const chosen = names.includes(select.value) ? select.value : names[0];
  select.replaceChildren(...names.map((name) => new Option(name)));
  if (chosen !== undefined) select.value = chosen;
  draw();
}

// One line per key: rows -> [times, values of the first key, values of the second, ...], with null where a key is silent.
function lines(rows, name) {
  const newest = rows.length ? seconds(rows[0]) : 0;
  const points = rows
    .filter((row) => typeof row.values?.[name] === "number" && Math.abs(seconds(row) - newest) < SPAN_S)
    .sort((a, b) => seconds(a) - seconds(b));
  const keys = [...new Set(points.map((row) => row.key))].sort();
  const shown = keys.slice(0, SERIES_MAX);
  const times = [...new Set(points.map(seconds))];
  const place = new Map(times.map((time, index) => [time, index]));
  const values = shown.map(() => new Array(times.length).fill(null));
  for (const row of points) {
    const line = shown.indexOf(row.key);
    if (line >= 0) values[line][place.get(seconds(row))] = row.values[name];
  }
  return { data: [times, ...values], shown, hidden: keys.length - shown.length };
}

function seconds(row) {
  return Date.parse(row.time.slice(0, 23) + "Z") / 1000;
}

function note(text) {
  byId("chart-note").textContent = text;
}

function draw() {
  const chart = byId("chart");
  const name = byId("chart-value").value;
  plot?.destroy();
  plot = null;
  chart.dataset.drawn = "no";
  if (!name) return note(rows.length ? "This stream has no numbers." : "No rows yet.");
  const { data, shown, hidden } = lines(rows, name);
  note(hidden > 0 ? `The first ${SERIES_MAX} of ${SERIES_MAX + hidden} keys.` : "");
  chart.dataset.drawn = "yes";
  const axis = { stroke: color("--quiet"), grid: { stroke: color("--line"), width: 1 }, ticks: { stroke: color("--line"), width: 1 } };
  const options = {
    width: chart.clientWidth - 24,
    height: PLOT_HEIGHT,
    legend: { live: true },
    cursor: { drag: { x: true, y: false } },
    axes: [{ ...axis, values: TIME_LABELS, space: 90 }, { ...axis, size: 62 }],
    series: [
      { value: "{YYYY}-{MM}-{DD} {HH}:{mm}:{ss}" },
      ...shown.map((key, index) => ({
        label: key || name,
        stroke: color(`--series-${index}`),
        width: 1.6,
        spanGaps: true,
        points: { show: data[0].length < 80, size: 5 },
      })),
    ],
  };
  plot = new uPlot(options, data, chart);
  chart.dataset.points = String(data[0].length);
}

function startChart() {
  if (!byId("chart")) return;
  byId("chart-stream").addEventListener("change", loadChart);
  byId("chart-value").addEventListener("change", draw);
  addEventListener("resize", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  loadChart().catch(() => note("The rows could not be read."));
}

startChart();
listen();
setInterval(tellTimes, 1000);
setInterval(refreshSoon, IDLE_MS);
