// Draws the curves of the streams page with uPlot, from samples that the console takes, and renews them.
"use strict";

const RENEW = 5000; // ms
const SHORTEST = 300; // seconds that a curve shows at least
const COLORS = ["#0b7285", "#c2255c", "#5c940d", "#e67700", "#5f3dc4", "#495057"];

function seriesOf(streams) {
  return streams.map((stream, at) => ({
    label: stream.kind,
    stroke: COLORS[at % COLORS.length],
    width: 2,
    dash: at < COLORS.length ? undefined : [4, 4],
  }));
}

// Times are UTC, as in all pages.
const clock = (seconds) => new Date(seconds * 1000).toISOString().slice(11, 19);
const time = { label: "UTC", value: (_, seconds) => (seconds == null ? "--" : clock(seconds)) };

function sizeOf(place) {
  return { width: Math.max(280, place.clientWidth), height: 220 };
}

async function draw() {
  const charts = document.getElementById("charts");
  const state = document.getElementById("charts-state");
  const say = (text) => { if (state.textContent !== text) state.textContent = text; };
  const read = async () => {
    // No person has asked, so it is no use of the session.
    const headers = { Accept: "application/json", "X-Background": "1" };
    const answer = await fetch(charts.dataset.samples, { headers });
    if ([401, 403].includes(answer.status)) window.location.reload(); // the session has ended
    if (!answer.ok) throw new Error(answer.statusText);
    return answer.json();
  };
  const look = async () => {
    try {
      const samples = await read();
      say("");
      return samples;
    } catch {
      say("The curves cannot be read now, and are old if there are any; it is tried again.");
      return null; // the console or Redis is away: the next time
    }
  };
  const dataOf = (samples, name) => [samples.at, ...samples.streams.map((stream) => stream[name])];
  const ink = getComputedStyle(document.body).color;
  const axis = { stroke: ink, grid: { stroke: "#8884", width: 1 }, ticks: { stroke: "#8884", width: 1 } };
  const times = { ...axis, space: 90, values: (_, seconds) => seconds.map(clock) };
  const samples = await look();
  if (samples === null || samples.at.length < 2) {
    setTimeout(draw, RENEW); // no curve without two samples
    return;
  }
  charts.hidden = false;
  const plots = [...charts.querySelectorAll("[data-curve]")].map((place) => {
    const scales = { x: { range: (_, first, last) => [Math.min(first, last - SHORTEST), last] } };
    const options = { ...sizeOf(place), scales, series: [time, ...seriesOf(samples.streams)], axes: [times, axis] };
    const plot = new uPlot(options, dataOf(samples, place.dataset.curve), place);
    addEventListener("resize", () => plot.setSize(sizeOf(place)));
    return { plot, curve: place.dataset.curve };
  });
  setInterval(async () => {
    if (document.hidden) return;
    const newer = await look();
    if (newer !== null) plots.forEach(({ plot, curve }) => plot.setData(dataOf(newer, curve)));
  }, RENEW);
}

draw();
