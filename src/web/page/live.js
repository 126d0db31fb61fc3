// The state of a topology, kept up to date by the event stream.

/** Ten minutes of samples are kept of each node, at most this many. */
const SAMPLES = 600;
const SPAN_S = 600;

/** The stream is stale after this many milliseconds without a snapshot. */
const STALE_MS = 5_000;

/** Longest pause before the next attempt to connect, in milliseconds. */
const LONGEST_PAUSE = 10_000;

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Requests to the API, with the token if one is known. All addresses are relative to the page. */
export class Api {
  constructor() {
    this.token = sessionStorage.getItem("token");
    this.topology = null;
  }

  signIn(token) {
    this.token = token;
    if (token === null) sessionStorage.removeItem("token");
    else sessionStorage.setItem("token", token);
  }

  async request(path, query = {}, more = {}) {
    const address = new URL(path, document.baseURI);
    const { topology } = this;
    for (const [name, value] of Object.entries(topology ? { topology, ...query } : query)) {
      if (value !== null && value !== undefined && value !== "") address.searchParams.set(name, value);
    }
    const headers = { ...more.headers };
    if (this.token !== null) headers.authorization = `Bearer ${this.token}`;
    const response = await fetch(address, { ...more, headers, cache: "no-store" });
    if (response.ok) return response;
    const text = await response.text();
    let message = text.trim();
    try {
      message = JSON.parse(text).error ?? message;
    } catch {
      // Some refusals are plain text.
    }
    throw new Refused(response.status, message);
  }

  async json(path, query, more) {
    return (await this.request(path, query, more)).json();
  }
}

/** What is known of a node, and its samples: times, rates, ready books, shares of time. */
class Track {
  constructor() {
    this.now = null;
    this.busy = null;
    this.blocked = null;
    this.idle = null;
    this.samples = [];
  }

  take(node, atS) {
    const before = this.now;
    const span = before === null ? 0 : atS - this.atS;
    const share = (key) => {
      if (span <= 0 || node[key] === undefined || before[key] === undefined) return null;
      return Math.min(1, Math.max(0, (node[key] - before[key]) / span));
    };
    // Carts are served at a pile in no time.
    this.busy = node.pile ? null : share("busy_s");
    this.blocked = share("blocked_s");
    this.idle = share("idle_s");
    this.now = node;
    this.atS = atS;
    this.samples.push({ atS, perS: node.per_s, ready: node.pile?.ready ?? null, busy: this.busy });
    while (this.samples.length > SAMPLES || atS - this.samples[0].atS > SPAN_S) this.samples.shift();
  }
}

/**
 * Reads the stream for as long as the page is open, and connects again after an interruption with
 * the id of the last event. `on` has the callbacks `snapshot`, `event`, `dropped`, `stale`, `end`
 * and `refused`.
 */
export class Live {
  constructor(api, on) {
    this.api = api;
    this.on = on;
    this.tracks = new Map();
    this.snapshot = null;
    this.run = null;
    this.lastId = null;
    this.lastAt = performance.now();
    this.controller = null;
    this.isOver = false;
    setInterval(() => this.watch(), 1_000);
  }

  watch() {
    const silent = performance.now() - this.lastAt;
    if (silent > STALE_MS) this.on.stale(Math.round(silent / 1_000), this.isOver);
  }

  restart() {
    this.controller?.abort();
  }

  async read() {
    let pause = 250;
    for (;;) {
      try {
        this.controller = new AbortController();
        const headers = this.lastId === null ? {} : { "last-event-id": this.lastId };
        const { signal } = this.controller;
        const response = await this.api.request("api/stream", {}, { headers, signal });
        pause = 250;
        this.isOver = false;
        await this.take(response.body);
      } catch (error) {
        if (error instanceof Refused && error.status === 401) {
          await this.on.refused(error);
          continue;
        }
        if (error instanceof Refused) this.on.problem(error);
      }
      await new Promise((resolve) => setTimeout(resolve, pause));
      pause = Math.min(pause * 2, LONGEST_PAUSE);
    }
  }

  async take(body) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      text += value;
      let end;
      while ((end = text.indexOf("\n\n")) >= 0) {
        this.part(text.slice(0, end));
        text = text.slice(end + 2);
      }
    }
  }

  part(text) {
    let name = "message";
    const data = [];
    for (const line of text.split("\n")) {
      if (line.startsWith("id: ")) this.lastId = line.slice(4);
      else if (line.startsWith("event: ")) name = line.slice(7);
      else if (line.startsWith("data: ")) data.push(line.slice(6));
    }
    if (data.length === 0) return;
    const value = JSON.parse(data.join("\n"));
    if (name === "snapshot") this.sample(value);
    else if (name === "event") this.on.event(value);
    else if (name === "dropped") this.on.dropped(value.events);
    else if (name === "end") {
      this.isOver = true;
      this.on.end();
    }
  }

  sample(snapshot) {
    if (snapshot.run !== this.run) {
      this.tracks.clear();
      this.run = snapshot.run;
      this.on.run(snapshot);
    }
    const names = new Set();
    for (const node of snapshot.nodes) {
      names.add(node.name);
      let track = this.tracks.get(node.name);
      if (!track) this.tracks.set(node.name, (track = new Track()));
      track.take(node, snapshot.at_s);
    }
    for (const name of this.tracks.keys()) if (!names.has(name)) this.tracks.delete(name);
    this.snapshot = snapshot;
    this.lastAt = performance.now();
    this.on.snapshot(snapshot, this.tracks);
  }
}
