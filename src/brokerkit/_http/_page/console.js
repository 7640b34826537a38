"use strict";
// Everything that comes from the bus is put into the page as text, never as HTML.

const EVERY = 2000; // milliseconds between two looks at the state
const MINUTE = 30; // looks over which rates and percentiles of handlers are taken
const SHOWN = 50; // dead letters on one page
const at = (id) => document.getElementById(id);
const node = (name, text = "", kind = "") => {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = kind;
  return made;
};

let token = "";
let looking = false;
let query = new URLSearchParams(); // what was listed last
let source = ""; // of which source
let offset = 0;
let shown = []; // ids in the table, in order; null for a message without one
let letter = null; // the dead letter that is open
let looks = []; // the latest looks at the handlers, oldest first

// ---- asking ---------------------------------------------------------------------------------------------------------

class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

async function ask(path, given) {
  const headers = { "content-type": "application/json" };
  if (token) headers.authorization = `Bearer ${token}`;
  const sent = given === undefined ? { headers } : { method: "POST", headers, body: JSON.stringify(given) };
  const answer = await fetch(path, { ...sent, cache: "no-store", credentials: "omit" });
  const text = await answer.text();
  let found = null;
  try {
    found = JSON.parse(text);
  } catch {
    // a refusal is plain text
  }
  if (answer.status === 401) at("token-field").hidden = false;
  if (found === null || (!answer.ok && found.error === undefined)) throw new Refused(answer.status, text.trim());
  return found;
}

const of = (name, rest) => `sources/${encodeURIComponent(name)}/${rest}`;

// ---- showing --------------------------------------------------------------------------------------------------------

const count = (value) => (value === null || value === undefined ? "unknown" : value.toLocaleString("en"));
const rate = (value) => (value === null || value === undefined ? "" : `${value.toFixed(1)}/s`);
const when = (seconds) => (seconds ? new Date(seconds * 1000).toISOString().replace("T", " ").slice(0, 19) + "Z" : "");
const pairs = (counts) => Object.entries(counts).map(([name, number]) => `${name || "(none)"}: ${count(number)}`).join(", ");
const mean = (row) => (row.attempts ? `${((row.seconds / row.attempts) * 1000).toFixed(2)} ms` : "");

// How many wait for a rate limit, and which.
const limited = (row) => [
  row.rate_limit === null && !row.limited ? "" : `${count(row.limited)}${row.rate_limit === null ? "" : ` (${count(row.rate_limit)}/s)`}`,
  row.limited ? "number warn" : "number",
];

function kindOf(state) {
  if (state === "consuming" || state === "open") return "state good";
  return state === "failed" || state === "blocked" ? "state bad" : "state warn";
}

const keyOf = (row) => JSON.stringify([row.source, row.handler]);

// Rate, median and 99th percentile of the attempts since that look.
function lately(row, before) {
  const old = before?.rows.get(keyOf(row));
  if (old === undefined || row.attempts < old.attempts) return ["", "", ""]; // a worker was replaced
  const buckets = Object.entries(row.durations).map(([end, number]) => [end === "inf" ? Infinity : Number(end), number - (old.durations[end] ?? 0)]);
  buckets.sort(([one], [other]) => (one < other ? -1 : 1));
  const attempts = row.attempts - old.attempts;
  const quantile = (share) => {
    let left = share * attempts;
    for (const [end, number] of buckets) {
      left -= number;
      if (left <= 0) return Number.isFinite(end) ? `≤ ${count(end * 1000)} ms` : "> 10 s";
    }
    return "";
  };
  const seconds = (performance.now() - before.at) / 1000;
  return [rate(attempts / seconds), ...(attempts ? [quantile(0.5), quantile(0.99)] : ["", ""])];
}

// Rows stay the same elements, so that a click that lasts from one look to the next is not lost.
function rows(body, items) {
  const old = new Map([...body.rows].map((row) => [row.dataset.key, row]));
  const wanted = items.map(({ key, cells, button }) => {
    const row = old.get(key) ?? node("tr");
    row.dataset.key = key;
    while (row.cells.length < cells.length) row.append(node("td"));
    cells.forEach(([text, kind = ""], number) => {
      const cell = row.cells[number];
      if (cell.textContent !== text) cell.textContent = text;
      if (cell.className !== kind) cell.className = kind;
    });
    if (button !== undefined) {
      if (row.cells.length === cells.length) row.append(node("td", "", "control"));
      const cell = row.cells[cells.length];
      if (cell.firstChild === null) cell.append(node("button"));
      if (cell.firstChild.textContent !== button) cell.firstChild.textContent = button;
    }
    return row;
  });
  const same = wanted.length === body.rows.length && wanted.every((row, number) => body.rows[number] === row);
  if (!same) body.replaceChildren(...wanted);
}

function showState(state) {
  at("ready").textContent = state.ready ? "ready" : state.reasons.join("; ");
  at("ready").className = `state ${state.ready ? "good" : "bad"}`;
  rows(at("sources"), Object.entries(state.sources).map(([name, each]) => ({
    key: name,
    button: each.state === "paused" ? "Resume" : "Pause",
    cells: [
      [name], [each.topics.join(", ")], [each.broker], [each.state, kindOf(each.state)], [when(each.since), "nowrap"],
      [rate(each.rate), "number"], [count(each.lag), "number"], [count(each.in_flight), "number"], [count(each.held), "number"],
      limited(each),
      [count(each.counts.handled), "number"], [count(each.counts.failed), "number"],
      [count(each.counts.dead_lettered), "number"], [each.error],
    ],
  })));
  rows(at("targets"), Object.entries(state.targets).map(([name, each]) => ({
    key: name,
    cells: [
      [name], [each.topic ?? ""], [each.broker], [each.state, kindOf(each.state)], [when(each.since), "nowrap"],
      [rate(each.rate), "number"], [count(each.in_flight), "number"], [count(each.confirmed), "number"],
      [pairs(each.refused)], [each.error],
    ],
  })));
  const before = looks[0]; // each look is compared with the oldest one
  looks.push({ at: performance.now(), rows: new Map(state.handlers.map((each) => [keyOf(each), each])) });
  looks = looks.slice(-MINUTE);
  rows(at("handlers"), state.handlers.map((each) => ({
    key: keyOf(each),
    cells: [
      [each.handler], [each.source], ...lately(each, before).map((text) => [text, "number"]).toSpliced(1, 0, limited(each)),
      [count(each.attempts), "number"], [mean(each), "number"], [pairs(each.failures)],
      [each.last_error, each.last_error ? "bad" : ""], [when(each.last_error_at), "nowrap"],
    ],
  })));
  const names = Object.keys(state.sources);
  for (const chooser of document.querySelectorAll("select.sources")) {
    if ([...chooser.options].map((option) => option.value).join("\n") === names.join("\n")) continue;
    chooser.replaceChildren(...names.map((name) => new Option(name, name)));
    chooser.dispatchEvent(new Event("change"));
  }
}

async function look() {
  if (looking || document.hidden) return;
  looking = true;
  try {
    showState(await ask("state"));
    at("problem").textContent = "";
  } catch (error) {
    at("problem").textContent = error instanceof Refused ? error.message : "the service does not answer";
  } finally {
    looking = false;
  }
}

// ---- dead letters ---------------------------------------------------------------------------------------------------

// One thing at a time: on some brokers a walk through dead letters hides them from all others.
async function work(what) {
  const buttons = [...document.querySelectorAll(".letters button, .letters input")].filter((each) => !each.disabled);
  buttons.forEach((each) => { each.disabled = true; });
  at("outcome").textContent = "working …";
  at("outcome").className = "";
  try {
    at("outcome").textContent = (await what()) ?? "";
  } catch (error) {
    at("outcome").textContent = error instanceof Refused ? error.message : `the service does not answer: ${error.message}`;
    at("outcome").className = "bad";
  } finally {
    buttons.forEach((each) => { each.disabled = false; });
    if (shown.length || !at("found").hidden) enable();
  }
}

function noteOn(answer) {
  const parts = [`${count(answer.looked_at)} dead letters looked at in ${answer.location}`];
  if (answer.unseen) parts.push(`${count(answer.unseen)} not looked at: narrow the filters, or list again`);
  if (answer.browse === "touches") {
    parts.push(`on ${answer.broker} a look counts as a delivery, and hides them from others meanwhile`);
  }
  at("note").textContent = parts.join("; ");
}

function filters() {
  const made = new URLSearchParams();
  for (const name of ["event", "error", "id", "text"]) {
    if (at(name).value.trim()) made.append(name, at(name).value.trim());
  }
  return made;
}

async function list() {
  const asked = new URLSearchParams(query);
  asked.set("offset", offset);
  asked.set("limit", SHOWN);
  const answer = await ask(of(source, `dead-letters?${asked}`));
  noteOn(answer);
  shown = answer.letters.map((each) => each.id);
  at("letters").replaceChildren(...answer.letters.map((each, number) => {
    const row = node("tr");
    const choice = node("td");
    const box = node("input");
    box.type = "checkbox";
    box.disabled = each.id === null;
    box.dataset.number = number;
    choice.append(box);
    const open = node("td");
    const button = node("button", "Show");
    button.dataset.number = number;
    button.disabled = each.id === null;
    open.append(button);
    const error = each.error ? `${each.error_type}: ${each.error}` : each.error_type;
    row.append(
      choice, node("td", each.id ?? "(none)"), node("td", each.event), node("td", each.handler), node("td", error),
      node("td", count(each.attempts), "number"), node("td", when(each.last_failure), "nowrap"), open,
    );
    return row;
  }));
  at("groups").hidden = true;
  at("found").hidden = false;
  at("found").dataset.more = answer.more ? "yes" : "";
  at("choose").checked = false;
  enable();
  if (!answer.letters.length) return answer.unseen ? "none among those that were looked at" : "no dead letters match";
  const first = answer.offset + 1;
  return `${count(first)} to ${count(answer.offset + answer.letters.length)}${answer.more ? " of more" : ""}`;
}

function enable() {
  at("previous").disabled = offset === 0;
  at("next").disabled = !at("found").dataset.more;
  // A text is looked for in what is shown, so what matches is known only of the page.
  for (const id of ["replay-all", "purge-all"]) at(id).disabled = query.has("text") || !shown.length;
}

async function group() {
  const answer = await ask(of(source, `dead-letters/errors?${query}`));
  noteOn(answer);
  at("groups").tBodies[0].replaceChildren(...answer.errors.map((each) => {
    const row = node("tr");
    const open = node("td");
    const button = node("button", "List these");
    button.dataset.error = each.error_type;
    button.disabled = !each.error_type;
    open.append(button);
    row.append(
      node("td", each.error_type || "(none)"), node("td", count(each.count), "number"), node("td", each.error),
      node("td", pairs(each.handlers)), node("td", pairs(each.events)), node("td", when(each.first), "nowrap"),
      node("td", when(each.last), "nowrap"), open,
    );
    return row;
  }));
  at("found").hidden = true;
  at("letter").hidden = true;
  at("groups").hidden = false;
  return answer.errors.length ? "" : "no dead letters match";
}

async function show(id) {
  const asked = new URLSearchParams({ id, contents: "1", limit: "1" });
  const answer = await ask(of(source, `dead-letters?${asked}`));
  if (!answer.letters.length) return "it is no longer there";
  [letter] = answer.letters;
  at("letter-id").textContent = letter.id;
  const facts = {
    event: letter.event, key: plain(letter.key), topic: letter.topic, group: letter.group, handler: letter.handler,
    error: `${letter.error_type}: ${letter.error}`, attempts: count(letter.attempts),
    "first failure": when(letter.first_failure), "last failure": when(letter.last_failure), produced: when(letter.time),
    "body changed": letter.edits.map((each) => `by ${each.by} at ${when(each.at)}`).join(", "),
    ...Object.fromEntries(Object.entries(letter.headers).map(([name, value]) => [`header ${name}`, plain(value)])),
  };
  at("facts").replaceChildren(
    ...Object.entries(facts).filter(([, value]) => value).flatMap(([name, value]) => [node("dt", name), node("dd", value)]),
  );
  at("traceback").textContent = letter.traceback;
  const readable = letter.body !== null;
  at("body").value = readable ? letter.body : `${count(letter.body_bytes ?? 0)} bytes that are not shown`;
  at("body").readOnly = !readable || document.body.dataset.control !== "yes";
  at("replay-edited").hidden = !readable;
  at("letter").hidden = false;
  at("letter").scrollIntoView({ block: "nearest" });
  return "";
}

const plain = (value) => (value !== null && typeof value === "object" ? `base64 ${value.base64}` : value ?? "");

// ---- changing -------------------------------------------------------------------------------------------------------

function sure(text) {
  const dialog = at("sure");
  at("sure-of").textContent = text;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

async function change(action, given) {
  const answer = await ask(of(source, `dead-letters/${action}`), { ...given, by: at("by").value.trim() });
  const done = action === "replay" ? "replayed" : "purged";
  const parts = [`${count(answer.done)} ${done}`];
  if (answer.error) parts.push(answer.error, `${count(answer.unseen)} not looked at`);
  const said = parts.join("; ");
  if (answer.done) {
    at("letter").hidden = true;
    if (!at("found").hidden) await list();
  }
  return said;
}

const chosen = () => [...at("letters").querySelectorAll("input:checked")].map((box) => shown[Number(box.dataset.number)]);

function matching() {
  const given = { events: query.getAll("event"), errors: query.getAll("error"), ids: query.getAll("id") };
  return query.size ? given : { all: true };
}

async function changeChosen(action) {
  const ids = chosen();
  if (!ids.length) {
    at("outcome").textContent = "nothing is chosen";
  } else if (action === "replay" || (await sure(`Delete ${count(ids.length)} dead letters for good?`))) {
    await work(() => change(action, { ids }));
  }
}

async function changeAll(action) {
  const which = query.size ? `that match ${query}` : `of source ${source}`;
  if (await sure(`${action === "replay" ? "Replay" : "Delete for good"} all dead letters ${which}?`)) {
    await work(() => change(action, matching()));
  }
}

async function changeOne(action, edited) {
  const given = { ids: [letter.id], limit: 1 };
  if (edited && !at("by").value.trim()) {
    at("outcome").textContent = "give your name first: it is kept with the message";
    at("by").focus();
    return;
  }
  if (edited) Object.assign(given, { body: at("body").value, digest: letter.digest });
  if (action === "replay" || (await sure("Delete this dead letter for good?"))) await work(() => change(action, given));
}

async function steer(path) {
  try {
    showState(await ask(path, {}));
  } catch (error) {
    at("problem").textContent = error.message;
  }
}

// ---- what is clicked ------------------------------------------------------------------------------------------------

function begin(what) {
  query = filters();
  source = at("source").value;
  offset = 0;
  at("letter").hidden = true;
  return work(what);
}

function turn(by) {
  offset = Math.max(offset + by, 0);
  return work(list);
}

at("who").addEventListener("submit", (event) => {
  event.preventDefault();
  token = at("token").value.trim();
  look();
});
at("search").addEventListener("submit", (event) => {
  event.preventDefault();
  begin(list);
});
at("sources").addEventListener("click", (event) => {
  const row = event.target.closest("tr");
  if (event.target.tagName === "BUTTON") steer(of(row.dataset.key, event.target.textContent.toLowerCase()));
});
at("letters").addEventListener("click", (event) => {
  if (event.target.tagName === "BUTTON") work(() => show(shown[Number(event.target.dataset.number)]));
});
at("groups").addEventListener("click", (event) => {
  if (event.target.tagName !== "BUTTON") return;
  at("error").value = event.target.dataset.error;
  begin(list);
});
at("choose").addEventListener("change", (event) => {
  at("letters").querySelectorAll("input:enabled").forEach((box) => { box.checked = event.target.checked; });
});
const clicks = {
  "pause-all": () => steer("pause"),
  "resume-all": () => steer("resume"),
  group: () => begin(group),
  previous: () => turn(-SHOWN),
  next: () => turn(SHOWN),
  "replay-chosen": () => changeChosen("replay"),
  "purge-chosen": () => changeChosen("purge"),
  "replay-all": () => changeAll("replay"),
  "purge-all": () => changeAll("purge"),
  "replay-one": () => changeOne("replay", false),
  "replay-edited": () => changeOne("replay", true),
  "purge-one": () => changeOne("purge", false),
  close: () => { at("letter").hidden = true; },
};
Object.entries(clicks).forEach(([id, click]) => at(id).addEventListener("click", click));
document.addEventListener("visibilitychange", look);
setInterval(look, EVERY);
look();
