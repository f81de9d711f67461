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
  if (answer.redirected) location.reload(); // to where one signs in: the session has ended
  if (!answer.ok || answer.redirected) return;
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
let rows = null; // until they were read for the first time

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
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return (await answer.json()).rows;
}

// The names of numeric values in these rows, in the order of their first appearance.
function numericNames(rows) {
  const names = new Set();
  for (const row of rows) {
    for (const name of Object.keys(row.values ?? row.thinned?.values ?? {})) if (pointsOf(row, name).length) names.add(name);
  }
  return [...names];
}

// What a row says of a value: a point; or of thinned rows their mean, least and greatest, from the first to the last moment.
function pointsOf(row, name) {
  const of = (time, value, min, max) => ({ key: row.key, time, value, min, max });
  const value = row.values?.[name];
  if (typeof value === "number") return [of(seconds(row), value)];
  const { mean, min, max } = row.thinned?.values[name]?.numbers ?? {};
  if (![mean, min, max].every(Number.isFinite)) return [];
  return [of(seconds(row), mean, min, max), of(lastMoment(row), mean, min, max)];
}

// Just before the end of what a row describes, so that its successor begins apart from it.
function lastMoment(row) {
  return seconds(row) + Math.max(0, row.duration_ns / 1e9 - 0.001);
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

// Rows -> [times, then for each key: values, and least and greatest where it has thinned rows]. In a line `undefined` is
// where another key has a point, and `null` breaks the line: there are rows that are gone.
function lines(rows, name) {
  const newest = rows.length ? seconds(rows[0]) : 0;
  const near = rows.filter((row) => Math.abs(seconds(row) - newest) < SPAN_S);
  const points = near.flatMap((row) => pointsOf(row, name));
  const lost = near.filter((row) => row.lost).map((row) => ({ key: row.key, from: seconds(row), to: lastMoment(row) }));
  const keys = [...new Set(points.map((point) => point.key))].sort();
  const shown = keys.slice(0, SERIES_MAX).map((key) => ({ key, points: points.filter((point) => point.key === key) }));
  const drawn = shown.flatMap((line) => line.points.map((point) => point.time));
  const times = [...new Set([...drawn, ...lost.flatMap((span) => [span.from, span.to])])].sort((a, b) => a - b);
  const place = new Map(times.map((time, index) => [time, index]));
  for (const line of shown) {
    line.banded = line.points.some((point) => point.min !== undefined);
    const breaks = lost.filter((span) => span.key === "" || span.key === line.key).flatMap((span) => [span.from, span.to]);
    line.data = (line.banded ? ["value", "min", "max"] : ["value"]).map((part) => {
      const values = new Array(times.length).fill(undefined);
      for (const time of breaks) values[place.get(time)] = null;
      // Between thinned rows a band has no bounds of its own: it is as wide as the value.
      for (const point of line.points) values[place.get(point.time)] = point[part] ?? point.value;
      return values;
    });
  }
  return { times, shown, lost, hidden: keys.length - shown.length };
}

function seconds(row) {
  return Date.parse(row.time.slice(0, 23) + "Z") / 1000;
}

function note(text) {
  byId("chart-note").textContent = text;
}

function draw() {
  if (rows === null) return;
  const chart = byId("chart");
  const name = byId("chart-value").value;
  plot?.destroy();
  plot = null;
  chart.dataset.drawn = "no";
  for (const key of [".band", ".lost"]) explain(key, false);
  if (!name) return note(rows.length ? "This stream has no numbers." : "No rows yet.");
  const { times, shown, lost, hidden } = lines(rows, name);
  note(hidden > 0 ? `The first ${SERIES_MAX} of ${SERIES_MAX + hidden} keys.` : "");
  const banded = shown.some((line) => line.banded);
  explain(".band", banded);
  explain(".lost", lost.length > 0);
  const axis = { stroke: color("--quiet"), grid: { stroke: color("--line"), width: 1 }, ticks: { stroke: color("--line"), width: 1 } };
  const series = [{ value: "{YYYY}-{MM}-{DD} {HH}:{mm}:{ss}" }];
  const bands = [];
  shown.forEach((line, index) => {
    const stroke = color(`--series-${index}`);
    series.push({ label: line.key || name, stroke, width: 1.6, points: { show: times.length < 80, size: 5 } });
    if (!line.banded) return;
    const bound = { stroke, width: 0.5, points: { show: false }, class: "bound-line" };
    bands.push({ series: [series.length + 1, series.length], fill: `${stroke}33` });
    series.push(bound, { ...bound });
  });
  const options = {
    width: chart.clientWidth - 24,
    height: PLOT_HEIGHT,
    legend: { live: true },
    cursor: { drag: { x: true, y: false } },
    // A single moment is shown in its minute, not in the years around it.
    scales: { x: { range: (_, from, to) => (from === to && from !== null ? [from - 60, to + 60] : [from, to]) } },
    axes: [{ ...axis, values: TIME_LABELS, space: 90 }, { ...axis, size: 62 }],
    hooks: { drawClear: [(plot) => shade(plot, lost)] },
    series,
    bands,
  };
  plot = new uPlot(options, [times, ...shown.flatMap((line) => line.data)], chart);
  chart.dataset.points = String(times.length);
  chart.dataset.lost = String(lost.length);
  chart.dataset.banded = banded ? "yes" : "no";
  chart.dataset.drawn = "yes";
}

// Where rows are gone, behind the lines: at least a visible mark.
function shade(plot, lost) {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  ctx.fillStyle = `${color("--alarm")}26`;
  for (const span of lost) {
    const from = plot.valToPos(span.from, "x", true);
    ctx.fillRect(from, bbox.top, Math.max(3, plot.valToPos(span.to, "x", true) - from), bbox.height);
  }
  ctx.restore();
}

function explain(key, visible) {
  byId("chart-keys").querySelector(key).hidden = !visible;
}

function startChart() {
  if (!byId("chart")) return;
  byId("chart-stream").addEventListener("change", loadChart);
  byId("chart-value").addEventListener("change", draw);
  addEventListener("resize", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  note("");
  loadChart().catch(() => note("The rows could not be read."));
}

startChart();
listen();
setInterval(tellTimes, 1000);
setInterval(refreshSoon, IDLE_MS);
