// The table of nodes: the same as the map, in words and numbers.

import { count, make, rate, set, share, span, sparkline } from "./text.js";

/** Rows beyond these are left out; a filter finds them. */
const MOST = 300;

const COLUMNS = [
  { name: "Node", of: (track) => track.now.name },
  { name: "Kind", of: (track) => track.now.kind },
  { name: "State", of: (track) => track.now.state, show: (track) => track.now.paused ? `paused: ${track.now.paused}` : track.now.state },
  { name: "Books/s", of: (track) => track.now.per_s, show: (track) => rate(track.now.per_s) },
  { name: "Last 10 min", of: (track) => track.now.per_s, show: null },
  { name: "Books", of: (track) => track.now.books },
  { name: "Ready", of: (track) => track.now.pile ? track.now.pile.ready + track.now.pile.stored : null },
  { name: "Leased", of: (track) => track.now.pile?.leased ?? null },
  { name: "Delayed", of: (track) => track.now.pile?.delayed ?? null },
  { name: "Oldest", of: (track) => track.now.pile?.oldest_s ?? null, show: (track) => span(track.now.pile?.oldest_s) },
  { name: "Busy", of: (track) => track.busy, show: (track) => share(track.busy) },
  { name: "Blocked", of: (track) => track.blocked, show: (track) => share(track.blocked) },
  { name: "Idle", of: (track) => track.idle, show: (track) => share(track.idle) },
  { name: "Failed", of: (track) => track.now.failed },
  { name: "Dead", of: (track) => track.now.dead },
  { name: "Restarts", of: (track) => track.now.restarts },
  { name: "Change", of: () => null, acts: true },
];

export class Table {
  constructor(heads, body, more, control, chosen, scale) {
    this.body = body;
    this.more = more;
    this.control = control;
    this.chosen = chosen;
    this.scale = scale;
    this.rows = new Map();
    this.order = null;
    this.wanted = "";
    this.gophers = false;
    this.tracks = new Map();
    this.heads = COLUMNS.map((column, at) => {
      const button = column.acts ? column.name : make("button", { type: "button", onclick: () => this.sort(at) }, column.name);
      const head = make("th", { scope: "col", class: column.acts ? "acts" : at > 2 ? "number" : null }, button);
      heads.append(head);
      return head;
    });
  }

  sort(at) {
    const is = this.order?.at === at;
    // Names ascend first, numbers descend.
    this.order = { at, down: is ? !this.order.down : at > 2 };
    this.heads.forEach((head, index) => {
      if (index === at) head.setAttribute("aria-sort", this.order.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    this.show(this.tracks);
  }

  filter(text) {
    this.wanted = text.trim().toLowerCase();
    this.show(this.tracks);
  }

  withGophers(shown) {
    this.gophers = shown;
    this.show(this.tracks);
  }

  show(tracks) {
    this.tracks = tracks;
    this.heads.at(-1).hidden = !this.control.allowed;
    let all = [...tracks.values()].filter(({ now }) => {
      if (now.kind === "gopher" && !this.gophers) return false;
      return !this.wanted || `${now.name} ${now.kind}`.toLowerCase().includes(this.wanted);
    });
    if (this.order) {
      const { at, down } = this.order;
      const { of } = COLUMNS[at];
      const compare = (a, b) =>
        typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : (a ?? -1) - (b ?? -1);
      all.sort((a, b) => compare(of(a), of(b)) * (down ? -1 : 1));
    }
    set(this.more, all.length > MOST ? `${count(all.length - MOST)} more: filter by name or kind` : "");
    all = all.slice(0, MOST);
    const names = all.map((track) => track.now.name);
    const shown = [...this.body.children].map((row) => row.dataset.name);
    const rows = all.map((track) => this.row(track));
    // Moving rows would take the focus away.
    if (names.length !== shown.length || names.some((name, at) => name !== shown[at])) {
      this.body.replaceChildren(...rows);
    }
    for (const name of this.rows.keys()) if (!tracks.has(name)) this.rows.delete(name);
  }

  row(track) {
    const { name, state } = track.now;
    let row = this.rows.get(name);
    if (!row) {
      row = make("tr", { "data-name": name });
      COLUMNS.forEach((column, at) => {
        const cell = make(at === 0 ? "th" : "td", { scope: at === 0 ? "row" : null, class: column.acts ? "acts" : at > 2 ? "number" : null, "data-head": column.name });
        if (at === 0) cell.append(make("button", { type: "button", onclick: () => this.chosen(name) }, name));
        row.append(cell);
      });
      this.rows.set(name, row);
    }
    row.className = state;
    COLUMNS.forEach((column, at) => {
      const cell = row.children[at];
      if (column.acts) {
        cell.hidden = !this.control.allowed;
        this.control.show(cell, track.now, () => this.scale(name));
      } else if (column.show === null) cell.replaceChildren(sparkline(track.samples, (sample) => sample.perS, `books per second of ${name}`));
      else if (at > 0) {
        const value = column.of(track);
        set(cell, column.show ? column.show(track) : typeof value === "number" ? count(value) : (value ?? ""));
      }
    });
    return row;
  }
}
