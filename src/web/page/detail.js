// What is known of one node: figures, failures, events, and the books of a pile.

import { Refused } from "./live.js";
import { bytes, count, make, rate, set, share, span, sparkline } from "./text.js";

/** Books of a pile that are shown at once. */
const PAGE = 50;

export class Detail {
  constructor(dialog, api, control) {
    this.dialog = dialog;
    this.api = api;
    this.control = control;
    this.name = null;
    this.body = dialog.querySelector("#detail-body");
    dialog.querySelector("#detail-close").addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => (this.name = null));
  }

  async open(name) {
    this.name = name;
    set(this.dialog.querySelector("h2"), name);
    set(this.dialog.querySelector("#detail-said"), "");
    this.acts = make("div", { class: "tools acts" });
    this.size = make("input", { type: "number", min: 1, required: "" });
    this.sizing = make("form", { class: "tools", hidden: "" }, make("label", {}, "Gophers ", this.size), make("button", {}, "Set"));
    this.sizing.addEventListener("submit", (submitted) => {
      submitted.preventDefault();
      this.control.order(name, "scale", { gophers: Number(this.size.value) });
      this.sizing.hidden = true;
    });
    this.figures = make("dl", { class: "figures" });
    this.lines = make("div", { class: "lines" });
    this.reasons = make("div");
    this.books = make("div");
    this.events = make("ol", { class: "events", tabindex: 0 });
    this.body.replaceChildren(this.acts, this.sizing, this.figures, this.lines, this.reasons, this.books, make("h3", {}, "Events"), this.events);
    if (!this.dialog.open) this.dialog.showModal();
    if (this.tracks) this.update(this.tracks);
    await this.load();
  }

  /** Asks for the size of a crew. */
  scale(name) {
    if (this.name !== name) this.open(name);
    this.size.value = this.tracks?.get(name)?.now.gophers ?? "";
    this.sizing.hidden = false;
    this.size.focus();
  }

  async load() {
    const { name } = this;
    try {
      const node = await this.api.json(`api/nodes/${encodeURIComponent(name)}`);
      if (this.name !== name) return;
      this.why(node.reasons);
      this.events.replaceChildren();
      for (const event of node.events.reverse()) this.add(event);
      if (node.pile) this.offer();
    } catch (error) {
      // A way without an actor of its own has no more than the map shows.
      if (!(error instanceof Refused && error.status === 404)) this.reasons.replaceChildren(error.message);
    }
  }

  update(tracks) {
    this.tracks = tracks;
    const track = this.name === null ? null : tracks.get(this.name);
    if (!track) return;
    const { now } = track;
    this.control.show(this.acts, now, () => this.scale(now.name));
    const rows = [
      ["kind", now.kind], ["state", now.paused ? `paused: ${now.paused}` : now.state],
      ["books", count(now.books)], ["books/s", rate(now.per_s)], ["carts", count(now.carts)],
      ["busy", share(track.busy)], ["blocked", share(track.blocked)], ["idle", share(track.idle)],
      ["gophers", now.gophers === undefined ? "" : count(now.gophers)],
      ["failed", count(now.failed)], ["dead", count(now.dead)], ["restarts", count(now.restarts)],
    ];
    if (now.pile) {
      const { pile } = now;
      rows.push(["ready", count(pile.ready)], ["delayed", count(pile.delayed)], ["leased", count(pile.leased)],
        ["in the store only", count(pile.stored)], ["oldest", span(pile.oldest_s)],
        ["holds", pile.capacity ? count(pile.capacity) : "any number"],
        ["carts that wait for books", count(pile.carts_for_books)], ["carts that wait for space", count(pile.carts_for_space)]);
    }
    if (now.balancer) {
      const { balancer } = now;
      rows.push(["policy", balancer.policy], ["in flight", count(balancer.in_flight)], ["shed", count(balancer.shed)],
        ["ejected workers", count(balancer.ejected)], ["response p50", span(balancer.response.p50_s)], ["response p99", span(balancer.response.p99_s)]);
    }
    if (now.requester) {
      const { requester } = now;
      rows.push(["asks", requester.to], ["in flight", count(requester.in_flight)], ["refused", count(requester.refused)],
        ["response p50", span(requester.response.p50_s)], ["response p99", span(requester.response.p99_s)]);
    }
    const shown = rows.filter(([, value]) => value !== "");
    this.figures.replaceChildren(...shown.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
    const size = [260, 48];
    const pictures = [["books/s", (sample) => sample.perS], ["ready", (sample) => sample.ready], ["busy", (sample) => sample.busy]];
    const drawn = pictures.filter(([, of]) => track.samples.some((sample) => of(sample) !== null));
    this.lines.replaceChildren(...drawn.map(([name, of]) =>
      make("figure", {}, sparkline(track.samples, of, `${name} of ${now.name}`, size), make("figcaption", {}, `${name}, last 10 min`))));
    if (now.balancer) this.lines.append(workers(now.balancer));
  }

  event(event) {
    if (event.node === this.name && this.events) this.add(event);
  }

  add(event) {
    this.events.prepend(make("li", { class: event.kind }, make("time", {}, span(event.at_s)), make("b", {}, event.kind), make("span", {}, event.text)));
  }

  why(reasons) {
    if (reasons.length === 0) return;
    const rows = reasons.map((row) => make("tr", {}, make("td", { class: "number" }, count(row.count)), make("td", { class: "reason" }, row.reason ?? "other reasons"), make("td", {}, row.first)));
    const head = make("tr", {}, make("th", { scope: "col", class: "number" }, "Times"), make("th", { scope: "col" }, "Reason"), make("th", { scope: "col" }, "First"));
    this.reasons.replaceChildren(make("h3", {}, "Why it failed"), make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)));
  }

  /** The books of a pile are read when asked for, their contents when asked for again. */
  offer() {
    const show = (bodies) => () => this.list(bodies);
    const buttons = [make("button", { type: "button", onclick: show(false) }, "Show books")];
    if (this.api.token !== null) buttons.push(make("button", { type: "button", onclick: show(true) }, "Show books with contents"));
    this.books.replaceChildren(make("h3", {}, "Books"), make("p", { class: "tools" }, ...buttons), make("div"));
  }

  async list(bodies) {
    const place = this.books.lastChild;
    try {
      const path = `api/piles/${encodeURIComponent(this.name)}/books`;
      const page = await this.api.json(path, bodies ? { bodies, limit: 20 } : { limit: PAGE });
      const rows = page.books.map((book) => {
        const content = book.content && (book.content.text ?? book.content.base64 ?? book.content.left_out);
        const state = book.due_s === undefined ? book.state : `${book.state}, ${span(book.due_s)} left`;
        return make("tr", {}, make("td", {}, book.name), make("td", {}, state), make("td", {}, book.holder ?? ""),
          make("td", { class: "number" }, count(book.attempts)), make("td", { class: "number" }, bytes(book.size)),
          bodies ? make("td", { class: "reason" }, content ?? "") : null);
      });
      const heads = ["Book", "State", "Holder", "Attempts", "Size", ...(bodies ? ["Contents"] : [])];
      const head = make("tr", {}, ...heads.map((name) => make("th", { scope: "col" }, name)));
      place.replaceChildren(rows.length
        ? make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows))
        : make("p", { class: "quiet" }, "No book is in memory here."));
    } catch (error) {
      place.replaceChildren(make("p", { role: "alert" }, error.message));
    }
  }
}

/** How many requests each worker has on average. */
function workers(balancer) {
  const most = Math.max(1, ...balancer.workers.map((worker) => worker.pending_mean));
  const rows = balancer.workers.map((worker) => {
    const bar = make("meter", { min: 0, max: most, value: worker.pending_mean, "aria-label": `requests at ${worker.name}` });
    return make("tr", {}, make("th", { scope: "row" }, worker.name), make("td", {}, bar), make("td", { class: "number" }, worker.pending_mean.toFixed(2)), make("td", { class: "number" }, count(worker.restarts)));
  });
  const head = make("tr", {}, ...["Worker", "Requests", "Mean", "Restarts"].map((name) => make("th", { scope: "col" }, name)));
  return make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows));
}
