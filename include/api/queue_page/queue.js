// The queue, drawn from the API every few seconds. Whatever comes from a title is set as text, never as markup.
"use strict";

const REFRESH_MS = 3000;
const LIMIT = 500;
const MINUTE = 60_000;
const SECTIONS = ["risk", "running", "waiting", "held"];
const COLUMNS = [
  ["place", "#", true], ["title", "Title"], ["state", "State"], ["score", "Score"], ["priority", "Priority", true],
  ["deadline", "Deadline"], ["laxity", "Laxity", true], ["eta", "ETA p50–p90"], ["verdict", "Verdict"], ["acts", ""],
];
const VERDICTS = { feasible: "feasible", feasible_degraded: "degraded only", infeasible: "infeasible" };
const QUESTIONS = {
  hold: { title: "Hold", what: "It is not started until it is let go.", yes: "Hold", change: () => ({ hold: true }) },
  resume: { title: "Resume", what: "It goes when its turn comes.", yes: "Resume", change: () => ({ hold: false }) },
  pin: { title: "Pin", what: "It goes before every other title.", yes: "Pin to the top", change: () => ({ pin: true }) },
  unpin: { title: "Unpin", what: "It goes by its value again.", yes: "Unpin", change: () => ({ pin: false }) },
  reschedule: { title: "Reschedule", what: "Value, place and verdict follow.", yes: "Set the deadline",
    change: () => ({ publish_at: new Date(byId("ask-time").value).toISOString() }) },
  cancel: { title: "Cancel", what: "Running work stops, nothing of it is published.", yes: "Cancel the title",
    change: () => ({ cancel: true }) },
};

const rows = new Map();
const opened = new Set();
let asked = null;
let timer = 0;
let latest = 0;

const byId = (id) => document.getElementById(id);

function make(tag, className = "", text = "") {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text) node.textContent = text;
  return node;
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function setClass(node, className) {
  if (node.className !== className) node.className = className;
}

// Moments and durations, in the words of whoever looks

function clock(moment) {
  const today = moment.toDateString() === new Date().toDateString();
  const time = moment.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  return today ? time : `${moment.toLocaleDateString([], { day: "numeric", month: "short" })} ${time}`;
}

function span(seconds) {
  const size = Math.abs(seconds);
  if (size < 90) return `${Math.round(seconds)} s`;
  if (size < 5400) return `${Math.round(seconds / 60)} min`;
  if (size < 172_800) return `${(seconds / 3600).toFixed(1)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}

function relative(moment) {
  const seconds = (moment - Date.now()) / 1000;
  return seconds >= 0 ? `in ${span(seconds)}` : `${span(-seconds)} ago`;
}

// Rows

function header() {
  const head = make("thead");
  const row = head.appendChild(make("tr"));
  for (const [name, label, right] of COLUMNS) {
    const cell = row.appendChild(make("th", `c-${name}${right ? " n" : ""}`, label));
    cell.scope = "col";
  }
  return head;
}

function newRow(id) {
  const body = make("tbody");
  body.dataset.request = id;
  const line = body.appendChild(make("tr"));
  const cells = {};
  for (const [name, , right] of COLUMNS) cells[name] = line.appendChild(make("td", right ? "n" : ""));
  const button = make("button", "name");
  button.type = "button";
  button.addEventListener("click", () => toggle(id));
  cells.title.append(button, make("small", "under"));
  cells.state.append(make("span", "what"), make("div", "bar"), make("small"));
  cells.state.children[1].append(make("i"));
  cells.score.append(make("b"), make("div", "bar"));
  for (const name of ["deadline", "eta", "verdict"]) cells[name].append(make("span"), make("small"));
  const detail = make("tr", "detail");
  detail.hidden = true;
  detail.appendChild(make("td")).colSpan = COLUMNS.length;
  body.append(detail);
  return { body, cells, detail, button, title: null };
}

function toggle(id) {
  if (!opened.delete(id)) opened.add(id);
  const row = rows.get(id);
  if (row) fill(row, row.title);
}

function fill(row, title) {
  const { cells } = row;
  row.title = title;
  setText(cells.place, String(title.place));
  setText(row.button, title.name || title.title_id);
  row.button.setAttribute("aria-expanded", String(opened.has(title.request_id)));
  fillUnder(cells.title.lastChild, title);
  fillState(cells.state, title);
  fillScore(cells.score, title.score);
  setText(cells.priority, title.priority ? title.priority.points.toLocaleString() : "–");
  cells.priority.title = title.priority ? spoken(title.priority) : "";
  fillTimes(cells, title);
  fillActions(cells.acts, title);
  const open = opened.has(title.request_id);
  row.detail.hidden = !open;
  if (open) fillDetail(row.detail.firstChild, title);
}

function fillUnder(node, title) {
  const badges = [[title.tier, `badge ${title.tier}`]];
  if (title.kind && title.kind !== title.tier) badges.push([title.kind.replace("_", " "), "badge"]);
  if (title.pinned) badges.push(["pinned", "badge mark"]);
  if (title.held) badges.push(["on hold", "badge mark"]);
  const wanted = JSON.stringify([badges, title.request_id]);
  if (node.dataset.shows === wanted) return;
  node.dataset.shows = wanted;
  node.replaceChildren();
  for (const [text, className] of badges) node.append(make("span", className, text), " ");
  node.append(make("span", "id", title.request_id));
}

function fillState(cell, title) {
  const [what, bar, task] = cell.children;
  const share = Math.round(100 * (title.progress || 0));
  setText(what, title.running ? `${title.state} ${share} %` : title.state);
  bar.hidden = !title.running;
  bar.firstChild.style.width = `${share}%`;
  const plays = title.state === "playable" ? `v${title.version} plays, the rest follows` : title.task;
  setText(task, title.running && plays ? plays : "");
}

function fillScore(cell, score) {
  const [number, bar] = cell.children;
  setText(number, score ? String(score.points) : "–");
  bar.hidden = !score;
  cell.title = score ? spoken(score) : "";
  if (!score) return;
  while (bar.children.length < score.terms.length) bar.append(make("i"));
  score.terms.forEach((term, index) => {
    setClass(bar.children[index], `t${index + 1}`);
    bar.children[index].style.width = `${term.points / 10}%`;
  });
}

function spoken(sum) {
  return sum.terms.map((term) => `${term.name} ${Math.round(term.points)}: ${term.why}`).join("\n");
}

function fillTimes(cells, title) {
  const deadline = title.deadline ? new Date(title.deadline) : null;
  setText(cells.deadline.firstChild, deadline ? clock(deadline) : "none");
  setClass(cells.deadline.firstChild, deadline ? "" : "dim");
  const kept = { true: "kept", false: "missed" }[title.deadline_kept];
  setText(cells.deadline.lastChild, deadline ? kept || relative(deadline) : "");
  setText(cells.laxity, title.laxity_s === null ? "" : span(title.laxity_s));
  setClass(cells.laxity, title.laxity_s !== null && title.laxity_s < 0 ? "n late" : "n");
  const quote = title.admission;
  const [p50, p90] = quote ? [new Date(quote.finish_p50), new Date(quote.finish_p90)] : [null, null];
  const known = quote && title.source_known;
  const unknown = quote ? "unknown until it is inspected" : "not valued yet";
  setText(cells.eta.firstChild, known ? `${clock(p50)} – ${clock(p90)}` : unknown);
  setText(cells.eta.lastChild, known ? (p50 < Date.now() ? "any moment" : relative(p50)) : "");
  const judged = quote && quote.miss_chance !== null;
  setText(cells.verdict.firstChild, judged ? VERDICTS[quote.verdict] || quote.verdict : "–");
  setClass(cells.verdict.firstChild, judged ? `verdict ${quote.verdict}` : "dim");
  setText(cells.verdict.lastChild, judged ? `miss ${(100 * quote.miss_chance).toFixed(0)} %` : "");
}

function fillActions(cell, title) {
  const wanted = [];
  if (title.may_edit) {
    if (title.held) wanted.push("resume");
    else if (!title.running) wanted.push("hold");
    wanted.push(title.pinned ? "unpin" : "pin", "reschedule", "cancel");
  }
  if (cell.dataset.shows === wanted.join()) return;
  cell.dataset.shows = wanted.join();
  const box = make("div", "acts");
  for (const name of wanted) {
    const label = { reschedule: "Deadline" }[name] || QUESTIONS[name].title;
    const button = box.appendChild(make("button", name === "cancel" ? "act stop" : "act", label));
    button.type = "button";
    button.dataset.act = name;
    button.addEventListener("click", () => ask(name, title.request_id));
  }
  cell.replaceChildren(box);
}

function fillDetail(cell, title) {
  const box = make("div", "terms");
  for (const [name, sum] of [["Score", title.score], ["Priority", title.priority]]) {
    if (sum) box.append(termList(`${name} ${sum.points.toLocaleString()}`, sum.terms, name === "Score"));
  }
  box.append(facts(title));
  cell.replaceChildren(box);
}

function termList(heading, terms, coloured) {
  const list = make("dl");
  terms.forEach((term, index) => {
    const name = make("dt");
    if (coloured) name.append(make("i", `t${index + 1}`));
    name.append(term.name);
    list.append(name, make("dd", "n", term.points.toFixed(0)), make("dd", "dim", term.why));
  });
  const box = make("div");
  box.append(make("h3", "", heading), list);
  return box;
}

function facts(title) {
  const known = [["arrived", relative(new Date(title.created_at)), ""]];
  const quote = title.admission;
  if (quote) {
    if (!title.running) known.push(["ahead", String(title.ahead), "titles go before it"]);
    known.push(["wait", span(quote.wait.p50_s), `p90 ${span(quote.wait.p90_s)}`]);
    known.push(["work", span(quote.work.p50_s), `slot time, p90 ${span(quote.work.p90_s)}`]);
    known.push(["valued", relative(new Date(title.valued_at)), ""]);
  }
  if (title.run_id) known.push(["run", "", `${title.dag_id} · ${title.run_id}`]);
  const list = make("dl");
  for (const [name, value, more] of known) list.append(make("dt", "", name), make("dd", "n", value), make("dd", "dim", more));
  const box = make("div");
  box.append(make("h3", "", "Prospects"), list);
  return box;
}

// The whole page

function sectionOf(title) {
  if (title.at_risk) return "risk";
  if (title.running) return "running";
  return title.held ? "held" : "waiting";
}

function draw(queue) {
  const groups = Object.fromEntries(SECTIONS.map((name) => [name, []]));
  for (const title of queue.titles) groups[sectionOf(title)].push(title);
  const present = new Set(queue.titles.map((title) => title.request_id));
  for (const [id, row] of rows) {
    if (!present.has(id)) {
      row.body.remove();
      rows.delete(id);
      opened.delete(id);
    }
  }
  for (const name of SECTIONS) drawSection(byId(name), groups[name]);
  byId("empty").hidden = queue.titles.length > 0;
  drawSummary(queue, groups);
}

function drawSection(section, titles) {
  section.hidden = titles.length === 0;
  setText(section.querySelector(".count"), String(titles.length));
  const table = section.querySelector("table");
  if (!table.tHead) table.append(header());
  titles.forEach((title, index) => {
    let row = rows.get(title.request_id);
    if (!row) rows.set(title.request_id, (row = newRow(title.request_id)));
    fill(row, title);
    // Only what has moved: a row that is put back where it was would lose the focus.
    const there = table.tBodies[index];
    if (there !== row.body) table.insertBefore(row.body, there || null);
  });
}

function drawSummary(queue, groups) {
  const { counts, farm } = queue;
  const active = counts.queued + counts.running + counts.playable;
  const gpus = farm.gpu_slots ? ` and ${farm.gpu_slots} GPU` : "";
  const held = queue.titles.filter((title) => title.held).length;
  const shown = queue.titles.length < counts.open ? `, the first ${queue.titles.length} shown` : "";
  setText(byId("summary"),
    `${counts.open.toLocaleString()} open titles${shown} · ${farm.cpu_slots} CPU${gpus} encode slots · ` +
    `room for ${farm.release_window} at once`);
  const tiles = [["at risk", groups.risk.length, groups.risk.length > 0], ["running", active, false],
    ["waiting", counts.waiting - held, false], ["on hold", held, false]];
  const list = byId("tiles");
  while (list.children.length < tiles.length) list.appendChild(make("li")).append(make("b"), make("span"));
  tiles.forEach(([label, number, alarm], index) => {
    const tile = list.children[index];
    setClass(tile, alarm ? "alarm" : "");
    setText(tile.firstChild, number.toLocaleString());
    setText(tile.lastChild, label);
  });
  setText(byId("updated"), `As of ${new Date(queue.at).toLocaleTimeString([], { hourCycle: "h23" })}, refreshed every ${REFRESH_MS / 1000} seconds.`);
}

// The API

async function call(path, options = {}) {
  const answer = await fetch(`api/v1/${path}`, { credentials: "same-origin", cache: "no-store", ...options });
  if (answer.status === 401) throw new Error("Your session has ended: reload Airflow and log in.");
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(typeof said.detail === "string" ? said.detail : `The server answered ${answer.status}.`);
  return said;
}

async function refresh() {
  clearTimeout(timer);
  const turn = ++latest;
  if (!document.hidden) {
    try {
      const queue = await call(`queue?limit=${LIMIT}`);
      if (turn !== latest) return;
      draw(queue);
      byId("trouble").hidden = true;
    } catch (error) {
      if (turn !== latest) return;
      setText(byId("trouble"), `Not up to date. ${error.message}`);
      byId("trouble").hidden = false;
    }
  }
  timer = setTimeout(refresh, REFRESH_MS);
}

function ask(name, id) {
  const { title } = rows.get(id);
  const question = QUESTIONS[name];
  asked = { name, id };
  setText(byId("ask-title"), `${question.title}: ${title.name || title.title_id}`);
  setText(byId("ask-what"), question.what);
  setText(byId("ask-yes"), question.yes);
  setClass(byId("ask-yes"), name === "cancel" ? "stop" : "");
  const needsMoment = name === "reschedule";
  byId("ask-moment").hidden = !needsMoment;
  byId("ask-time").required = needsMoment;
  setText(byId("ask-zone"), `(${Intl.DateTimeFormat().resolvedOptions().timeZone})`);
  const from = title.deadline ? new Date(title.deadline) : new Date(Date.now() + 60 * MINUTE);
  byId("ask-time").value = new Date(from - from.getTimezoneOffset() * MINUTE).toISOString().slice(0, 16);
  byId("ask-why").value = "";
  byId("ask-trouble").hidden = true;
  byId("ask").showModal();
  byId("ask-why").focus();
}

async function answer(event) {
  event.preventDefault();
  const yes = byId("ask-yes");
  yes.disabled = true;
  try {
    const body = { ...QUESTIONS[asked.name].change(), why: byId("ask-why").value.trim() };
    const path = asked.id.split("/").map(encodeURIComponent).join("/");
    const headers = { "Content-Type": "application/json" };
    await call(`titles/${path}`, { method: "PATCH", headers, body: JSON.stringify(body) });
    byId("ask").close();
    refresh();
  } catch (error) {
    setText(byId("ask-trouble"), error.message);
    byId("ask-trouble").hidden = false;
  } finally {
    yes.disabled = false;
  }
}

function followTheme() {
  // Airflow's UI keeps the choice of its user here, for all pages of its origin.
  let chosen = null;
  try {
    chosen = localStorage.getItem("theme");
  } catch {
    // Storage is switched off: the system's choice stands.
  }
  if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
  else delete document.documentElement.dataset.theme;
}

followTheme();
addEventListener("storage", followTheme);
document.addEventListener("visibilitychange", () => document.hidden || refresh());
byId("ask").querySelector("form").addEventListener("submit", answer);
byId("ask-no").addEventListener("click", () => byId("ask").close());
refresh();
