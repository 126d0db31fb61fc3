// The page of operations. It shows what the API answers, and sends what the user orders.

import { Api, Live, Refused } from "./live.js";
import { LiveMap, findBottleneck } from "./map.js";
import { Table } from "./table.js";
import { Control } from "./control.js";
import { Detail } from "./detail.js";
import { count, make, rate, set, share, span } from "./text.js";

/** Most events that are shown. */
const EVENTS = 100;

const by = (id) => document.getElementById(id);
const api = new Api();
const map = new LiveMap(by("map"), (name) => detail.open(name));
const control = new Control(api, (text) => {
  for (const place of ["said", "detail-said"]) set(by(place), text);
});
const detail = new Detail(by("detail"), api, control);
const table = new Table(by("heads"), by("rows"), by("more"), control, (name) => detail.open(name), (name) => detail.scale(name));
let missed = 0;
let tracks = new Map();

const live = new Live(api, {
  run: () => attempt(describe),
  snapshot,
  event,
  dropped(events) {
    missed += events;
    set(by("missed"), `${count(missed)} events are not shown: they were too many, or too long ago.`);
  },
  stale: (seconds, isOver) => stale(isOver ? "The run has ended." : `No news for ${seconds} s: connecting again.`),
  end: () => stale("The run has ended."),
  refused: signIn,
  problem: (error) => stale(error.message),
});

async function attempt(act) {
  try {
    await act();
  } catch (error) {
    stale(error.message);
  }
}

/** Shows the drawing and what books survive. */
async function describe() {
  const drawing = await api.json("api/topology");
  set(by("title"), drawing.title);
  document.title = `${drawing.title}: gopherworks`;
  const lines = drawing.promises.map(({ piles, books }) => (piles.length ? `${piles.join(", ")}: ${books}` : books));
  set(by("promises"), `${drawing.totals}. ${lines.join(". ")}.`);
  map.show(drawing);
  control.allowed = drawing.control === "allowed";
  by("unlock").hidden = drawing.control !== "token";
  if (drawing.control === "token" && api.token !== null) {
    api.signIn(null);
    stale("This token is not that of [operations].");
  }
}

function snapshot(now, all) {
  tracks = all;
  by("stale").hidden = true;
  const state = by("state");
  set(state, now.ready ? "ready" : "not ready");
  state.className = `badge ${now.ready ? "good" : "bad"}`;
  set(by("uptime"), `run ${now.run}, ${span(now.at_s)}`);
  ledger(now.ledger);
  const limit = findBottleneck(tracks);
  set(by("bottleneck"), limit?.text ?? "");
  map.update(tracks, limit?.name);
  set(by("dot"), map.each ? `• a dot is ${map.each === 1 ? "1 book" : `${count(map.each)} books`}` : "");
  table.show(tracks);
  top();
  detail.update(tracks);
}

function ledger(of) {
  const balances = of.lost === 0 && of.duplicates === 0;
  const rows = [
    ["offered", of.offered], ["burned", of.burned], ["dead", of.dead], ["dropped", of.dropped],
    ["in flight", of.in_flight], ["given back", of.given_back], ["lost", of.lost],
    ["duplicates", of.duplicates], ["reburned", of.reburned],
  ];
  const box = by("ledger");
  if (box.children.length === 0) {
    for (const [name] of rows) box.append(make("div", {}, make("dt", {}, name), make("dd")));
  }
  rows.forEach(([name, value], at) => {
    const row = box.children[at];
    set(row.lastChild, count(value));
    row.className = (name === "lost" || name === "duplicates" || name === "dead") && value > 0 ? "bad" : "";
  });
  box.classList.toggle("bad", !balances);
}

/** The busiest, the longest blocked, those with the oldest books, and those that fail most. */
function top() {
  const all = [...tracks];
  const lists = [
    ["Busiest", (track) => track.busy ?? 0, share, 0.01],
    ["Blocked most", (track) => track.blocked ?? 0, share, 0.01],
    ["Oldest book", (track) => track.now.pile?.oldest_s ?? 0, span, 0.001],
    ["Most failures", (track) => track.now.failed, count, 1],
    ["Most restarts", (track) => track.now.restarts, count, 1],
  ];
  const boxes = lists.map(([title, of, show, least]) => {
    const first = all
      .map(([name, track]) => [name, of(track)])
      .filter(([, value]) => value >= least)
      .sort((a, b) => b[1] - a[1])
      .slice(0, 5);
    const rows = first.map(([name, value]) =>
      make("li", {}, make("button", { type: "button", "data-node": name }, name), make("span", {}, show(value))),
    );
    return make("div", {}, make("h3", {}, title), rows.length ? make("ol", {}, ...rows) : make("p", { class: "quiet" }, "none"));
  });
  // A button that has the focus must not be replaced.
  if (!by("top").contains(document.activeElement)) by("top").replaceChildren(...boxes);
}

function event(of) {
  const list = by("events");
  const node = of.node ? make("button", { type: "button", "data-node": of.node }, of.node) : null;
  list.prepend(
    make("li", { class: of.kind }, make("time", {}, span(of.at_s)), make("b", {}, of.kind), node, make("span", {}, of.text)),
  );
  while (list.children.length > EVENTS) list.lastChild.remove();
  detail.event(of);
}

function stale(text) {
  const banner = by("stale");
  banner.hidden = false;
  set(banner, text);
}

/** Asks for the token; resolves once one was sent. */
function signIn(error) {
  const form = by("signin");
  by("main").hidden = true;
  form.hidden = false;
  set(by("signin-error"), api.token === null ? "" : error.message);
  by("token").focus();
  return new Promise((resolve) => {
    form.onsubmit = (submitted) => {
      submitted.preventDefault();
      api.signIn(by("token").value);
      by("token").value = "";
      form.hidden = true;
      by("main").hidden = false;
      attempt(start).then(resolve);
    };
  });
}

/** Lets the user choose among several topologies. */
async function start() {
  const { topologies } = await api.json("snapshot");
  const names = topologies.map((topology) => topology.name);
  const choice = by("topology");
  by("chooser").hidden = names.length < 2;
  choice.replaceChildren(...names.map((name) => make("option", { value: name }, name)));
  api.topology = names.length > 1 ? names[0] : null;
  if (names.length === 0) throw new Error("No topology runs here. /metrics and /snapshot tell of the balancers.");
  await goOn();
  choice.onchange = () => {
    api.topology = choice.value;
    attempt(goOn).then(() => live.restart());
  };
}

/** Has the stream begin with the events that the run still keeps. */
async function goOn() {
  const { run } = await api.json("api/ledger");
  live.lastId = `${run}-0`;
  missed = 0;
  set(by("missed"), "");
  by("events").replaceChildren();
}

async function letters() {
  const query = { node: by("dead-node").value, text: by("dead-text").value, limit: 100 };
  const page = await api.json("api/dead", query);
  set(by("dead-count"), `${count(page.dead)} in this run; ${count(page.total)} of those in memory are asked for, ${count(page.letters.length)} shown`);
  const rows = page.letters.map((letter) =>
    make("tr", {}, make("td", {}, letter.name), make("td", {}, letter.pile), make("td", {}, letter.node ?? ""),
      make("td", { class: "number" }, count(letter.attempts)), make("td", { class: "reason" }, letter.reason)),
  );
  by("dead").replaceChildren(...rows);
}

by("dead-form").addEventListener("submit", (submitted) => {
  submitted.preventDefault();
  attempt(letters);
});
by("unlock").addEventListener("click", () => signIn(new Refused(401, "")).then(() => attempt(describe)));
by("filter").addEventListener("input", () => table.filter(by("filter").value));
by("gophers").addEventListener("change", () => table.withGophers(by("gophers").checked));
by("zoom-in").addEventListener("click", () => map.zoom(1.25));
by("zoom-out").addEventListener("click", () => map.zoom(0.8));
by("zoom-fit").addEventListener("click", () => map.fit());
addEventListener("click", (clicked) => {
  const name = clicked.target.closest?.("[data-node]")?.dataset.node;
  if (name) detail.open(name);
});

try {
  await start();
} catch (error) {
  if (!(error instanceof Refused)) stale(error.message);
}
live.read();
