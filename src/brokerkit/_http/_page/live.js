"use strict";
// Messages as they arrive, and retries that wait. Nothing is asked of the service before somebody starts it.

const KEPT = 100; // messages in the table
const LONGEST = 2000; // characters of a body in the table
const RETRIES_EVERY = 10000; // milliseconds between two looks at retries
const watcher = crypto.getRandomValues(new Uint32Array(4)).join("-");

let watching = null; // the path that is asked; null while nobody watches
let seenLive = 0; // messages of this watch that are or were in the table
let matchedLive = 0; // messages that there were to choose from
let retrying = null; // the source whose retries are shown

// ---- live messages --------------------------------------------------------------------------------------------------

const clock = (seconds) => new Date(seconds * 1000).toISOString().slice(11, 23) + "Z";

function bodyOf(message) {
  if (message.body === null) return message.body_bytes === null ? "" : `${count(message.body_bytes)} bytes that are not shown`;
  return message.body.length > LONGEST ? `${message.body.slice(0, LONGEST)} …` : message.body;
}

function liveRow(message) {
  const headers = Object.entries(message.headers).map(([name, value]) => `${name}: ${plain(value)}`).join("\n");
  const row = node("tr");
  row.append(
    node("td", clock(message.arrived), "nowrap"), node("td", count(message.worker), "number"), node("td", message.event),
    node("td", plain(message.key)), node("td", message.id ?? ""), node("td", message.topic), node("td", headers, "lines"),
    node("td", bodyOf(message), "lines"),
  );
  return row;
}

// One loop for each watch: it ends when another path is watched, or none.
async function watch(path) {
  while (watching === path) {
    if (!document.hidden) {
      try {
        const answer = await ask(path);
        if (watching !== path) return;
        seenLive += answer.messages.length;
        matchedLive += answer.matched;
        const body = at("messages");
        body.prepend(...answer.messages.map(liveRow).reverse());
        while (body.rows.length > KEPT) body.deleteRow(-1);
        at("watch-note").textContent = `${count(seenLive)} of ${count(matchedLive)} messages, at most ${answer.per_second} a second from each worker`;
        at("watch-note").className = "";
      } catch (error) {
        at("watch-note").textContent = error instanceof Refused ? error.message : "the service does not answer";
        at("watch-note").className = "bad";
      }
    }
    await new Promise((resolve) => { setTimeout(resolve, EVERY); });
  }
}

function stopWatching() {
  watching = null;
  at("watch-stop").disabled = true;
}

at("watch").addEventListener("submit", (event) => {
  event.preventDefault();
  const wanted = new URLSearchParams({ watcher });
  for (const name of ["event", "key"]) {
    if (at(`watch-${name}`).value.trim()) wanted.set(name, at(`watch-${name}`).value.trim());
  }
  const path = of(at("watched").value, `messages?${wanted}`);
  if (path === watching) return;
  [watching, seenLive, matchedLive] = [path, 0, 0];
  at("messages").replaceChildren();
  at("live").hidden = false;
  at("watch-stop").disabled = false;
  watch(path);
});
at("watch-stop").addEventListener("click", stopWatching);

// ---- retries --------------------------------------------------------------------------------------------------------

function within(due) {
  const left = Math.round(due - Date.now() / 1000);
  return `${when(due)} (${left > 0 ? `in ${count(left)} s` : "now"})`;
}

function waits(place) {
  const about = place.exact ? "" : "what is being handled counts too";
  return [place.wait === null ? "" : `${count(place.wait)} s each`, about].filter(Boolean).join("; ");
}

function showRetries(answer) {
  rows(at("places"), (answer.at_broker ?? []).map((each) => ({
    key: each.place,
    cells: [[each.place], [count(each.count), "number"], [each.first_due === null ? "" : within(each.first_due), "nowrap"], [waits(each)]],
  })));
  rows(at("held"), answer.held.map((each, number) => ({
    key: `${each.worker} ${each.id ?? number}`,
    cells: [
      [each.id ?? ""], [each.event], [plain(each.key)], [count(each.worker), "number"], [each.handler], [count(each.attempts), "number"],
      [within(each.due), "nowrap"], [[each.error_type, each.error].filter(Boolean).join(": "), "bad"],
    ],
  })));
  const waiting = (answer.at_broker ?? []).reduce((sum, each) => sum + each.count, 0);
  const broker = answer.error || (answer.at_broker === null ? "the broker does not tell what waits there" : `${count(waiting)} at the broker`);
  at("retry-note").textContent = `${count(answer.held.length)} of those that are held here, the first due first; ${broker}`;
}

async function lookAtRetries() {
  if (retrying === null || document.hidden) return;
  const asked = retrying;
  try {
    const answer = await ask(of(asked, "retries"));
    if (retrying === asked) showRetries(answer);
  } catch (error) {
    at("retry-note").textContent = error instanceof Refused ? error.message : "the service does not answer";
  }
}

function showRetriesOf(name) {
  retrying = name;
  at("retries").hidden = name === null;
  at("retry-hide").disabled = name === null;
  if (name === null) at("retry-note").textContent = "";
  return lookAtRetries();
}

at("retry").addEventListener("submit", (event) => {
  event.preventDefault();
  showRetriesOf(at("retried").value);
});
at("retry-hide").addEventListener("click", () => showRetriesOf(null));
setInterval(lookAtRetries, RETRIES_EVERY);
