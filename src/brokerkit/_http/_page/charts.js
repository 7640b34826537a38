"use strict";
// Rate and latency of one source over the last quarter of an hour, drawn by uPlot.

const CHARTS_EVERY = 10000; // milliseconds between two looks
const COLOURS = ["#0969da", "#cf222e"];

function series(label, colour, shown) {
  return { label, stroke: colour, width: 2, value: (_, value) => (value === null || value === undefined ? "" : shown(value)) };
}

function chart(place, title, unit, labels) {
  const shown = (value) => `${value.toLocaleString("en", { maximumSignificantDigits: 3 })} ${unit}`;
  const style = getComputedStyle(document.body);
  const axis = { stroke: style.color, grid: { stroke: "#8884", width: 1 }, ticks: { stroke: "#8884", width: 1 } };
  return new uPlot({
    title: `${title}, ${unit}`,
    width: 560,
    height: 200,
    scales: { y: { range: (_, least, most) => [0, most > 0 ? most * 1.1 : 1] } },
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
    axes: [{ ...axis, values: (_, times) => times.map((each) => when(each).slice(11, 16)) }, { ...axis, size: 60 }],
    series: [{ value: (_, seconds) => when(seconds).slice(11) }, ...labels.map((label, number) => series(label, COLOURS[number], shown))],
  }, [[], ...labels.map(() => [])], at(place));
}

const charts = {
  rates: chart("rates", "Messages", "a second", ["handled", "failed attempts"]),
  durations: chart("durations", "Handlers take", "ms", ["mean", "99th percentile, at most"]),
};

const milliseconds = (seconds) => (seconds === null ? null : seconds * 1000);

async function lookAtHistory() {
  const name = at("charted").value;
  if (!name || document.hidden) return;
  try {
    const answer = await ask(of(name, "history"));
    if (at("charted").value !== name) return;
    const steps = answer.steps;
    const times = steps.map((each) => each.at + answer.seconds);
    charts.rates.setData([times, steps.map((each) => each.rate), steps.map((each) => each.failed)]);
    charts.durations.setData([times, steps.map((each) => milliseconds(each.mean)), steps.map((each) => milliseconds(each.p99))]);
    at("chart-note").textContent = steps.length ? "" : `the first ${answer.seconds} seconds are not over yet`;
  } catch (error) {
    at("chart-note").textContent = error instanceof Refused ? error.message : "the service does not answer";
  }
}

at("charted").addEventListener("change", lookAtHistory);
document.addEventListener("visibilitychange", lookAtHistory);
setInterval(lookAtHistory, CHARTS_EVERY);
lookAtHistory();
