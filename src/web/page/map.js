// The live map: boxes and edges in one SVG, moving carts on one canvas above it.

import { BOX, curve, layout, point } from "./layout.js";
import { count, draw, make, rate, set, share, span } from "./text.js";

/** Pixels that a dot moves in a second, and most dots on the map that pass an edge in a second. */
const SPEED = 90;
const MOST_DOTS = 3;

/** About as many dots are drawn at once. */
const MOST_DRAWN = 600;

/** Smallest and greatest zoom. */
const [SMALLEST, GREATEST] = [0.08, 3];

export class LiveMap {
  constructor(frame, chosen) {
    this.frame = frame;
    this.chosen = chosen;
    this.svg = draw("svg", { "aria-hidden": "true" });
    this.canvas = make("canvas", { "aria-hidden": "true" });
    frame.append(this.svg, this.canvas);
    this.view = { x: 0, y: 0, zoom: 1 };
    this.place = null;
    this.still = matchMedia("(prefers-reduced-motion: reduce)");
    this.listen();
    new ResizeObserver(() => this.fit()).observe(frame);
    requestAnimationFrame((now) => this.tick(now));
  }

  show(drawing) {
    this.place = layout(drawing);
    this.boxes = new Map();
    const edges = draw("g");
    for (const edge of this.place.edges) {
      edge.curve = curve(edge);
      const [x1, y1, ...rest] = edge.curve;
      const asks = edge.to.kind === "balancer" && edge.from.kind !== "requests";
      edge.path = draw("path", { class: asks ? "edge asks" : "edge", d: `M${x1} ${y1}C${rest.join(" ")}` });
      edges.append(edge.path);
    }
    const boxes = draw("g");
    for (const item of this.place.items) {
      const box = this.box(item);
      this.boxes.set(item.name, box);
      boxes.append(box.group);
    }
    this.world = draw("g", {}, edges, boxes);
    this.svg.replaceChildren(this.world);
    this.fit();
  }

  box(item) {
    const name = draw("text", { x: 10, y: 20, class: "name" });
    name.textContent = cut(item.name, 22 - Math.ceil(item.kind.length * 0.8));
    const [main, more] = [draw("text", { x: 10, y: 38 }), draw("text", { x: 10, y: 53, class: "more" })];
    const kind = draw("text", { x: BOX.width - 10, y: 20, class: "kind", "text-anchor": "end" });
    kind.textContent = item.kind;
    const shares = ["busy", "blocked", "idle"].map((key) =>
      draw("rect", { class: key, x: 0, y: BOX.height - 5, width: 0, height: 5 }),
    );
    const group = draw(
      "g",
      { class: `box ${item.kind}`, transform: `translate(${item.x} ${item.y})` },
      draw("title"),
      draw("rect", { width: BOX.width, height: BOX.height, rx: 8, class: "back" }),
      ...shares, name, main, more, kind,
    );
    group.firstChild.textContent = [item.name, item.kind, item.copies, ...item.notes].filter(Boolean).join("\n");
    group.addEventListener("click", () => this.chosen(item.name));
    return { group, main, more, kind, shares, item };
  }

  /** Shows the present state. Boxes outside of the view are left as they are. */
  update(tracks, bottleneck) {
    if (!this.place) return;
    this.tracks = tracks;
    this.bottleneck = bottleneck;
    const seen = this.seen();
    let most = 0;
    for (const edge of this.place.edges) {
      const track = tracks.get(edge.way.name);
      edge.carts = track ? track.now.per_s : this.requests(edge.way);
      most = Math.max(most, edge.carts);
    }
    // A dot stands for a power of ten of books.
    this.each = 10 ** Math.max(0, Math.ceil(Math.log10(most / MOST_DOTS || 1)));
    for (const box of this.boxes.values()) if (seen(box.item)) this.fill(box);
  }

  requests(way) {
    return way.kind === "requests" ? (this.tracks.get(way.from)?.now.per_s ?? 0) : 0;
  }

  fill({ group, main, more, kind, shares, item }) {
    const track = this.tracks.get(item.name);
    const node = track?.now;
    group.classList.toggle("bottleneck", item.name === this.bottleneck);
    if (!node) {
      if (item.kind === "requests") set(main, `${rate(this.requests(item))} /s`);
      return;
    }
    group.classList.toggle("paused", node.state === "paused");
    group.classList.toggle("down", node.state === "down");
    group.classList.toggle("closed", node.state === "closed");
    set(kind, node.held ? `⏸ ${item.kind}` : item.kind);
    set(main, headline(node));
    set(more, detail(node));
    let left = 0;
    for (const [at, part] of [track.busy, track.blocked, track.idle].entries()) {
      const width = Math.min((part ?? 0) * BOX.width, BOX.width - left);
      shares[at].setAttribute("x", left.toFixed(1));
      shares[at].setAttribute("width", width.toFixed(1));
      left += width;
    }
  }

  /** True for what is in the view, or near it. */
  seen() {
    const { x, y, zoom } = this.view;
    const { clientWidth, clientHeight } = this.frame;
    const [right, bottom] = [x + clientWidth / zoom, y + clientHeight / zoom];
    return (item) =>
      item.x + BOX.width >= x && item.x <= right && item.y + BOX.height >= y && item.y <= bottom;
  }

  fit() {
    if (!this.place) return;
    const { clientWidth, clientHeight } = this.frame;
    const zoom = Math.min(clientWidth / this.place.width, clientHeight / this.place.height, 1.4);
    const least = Math.min(1, Math.max(SMALLEST, zoom));
    // Names must stay readable on a phone: then a part of the map is shown.
    this.view.zoom = this.place.items.length <= 40 ? Math.max(least, 0.55) : least;
    if (zoom > 1) this.view.zoom = zoom;
    const spare = (room, size) => Math.min(0, (size - room / this.view.zoom) / 2);
    this.view.x = spare(clientWidth, this.place.width);
    this.view.y = spare(clientHeight, this.place.height);
    this.moved();
  }

  zoom(factor, [x, y] = [this.frame.clientWidth / 2, this.frame.clientHeight / 2]) {
    const before = this.view.zoom;
    const zoom = Math.min(GREATEST, Math.max(SMALLEST, before * factor));
    this.view.x += x / before - x / zoom;
    this.view.y += y / before - y / zoom;
    this.view.zoom = zoom;
    this.moved();
  }

  pan(x, y) {
    this.view.x += x / this.view.zoom;
    this.view.y += y / this.view.zoom;
    this.moved();
  }

  moved() {
    const { x, y, zoom } = this.view;
    this.world?.setAttribute("transform", `scale(${zoom}) translate(${-x} ${-y})`);
    this.svg.classList.toggle("far", zoom < 0.4);
    if (this.tracks) this.update(this.tracks, this.bottleneck);
  }

  listen() {
    const { frame } = this;
    frame.addEventListener("wheel", (event) => {
      // Without a modifier the wheel scrolls the page.
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      const box = frame.getBoundingClientRect();
      this.zoom(event.deltaY < 0 ? 1.15 : 1 / 1.15, [event.clientX - box.left, event.clientY - box.top]);
    }, { passive: false });
    let from = null;
    frame.addEventListener("pointerdown", (event) => {
      from = [event.clientX, event.clientY];
    });
    addEventListener("pointermove", (event) => {
      if (from === null || event.buttons === 0) return;
      this.pan(from[0] - event.clientX, from[1] - event.clientY);
      from = [event.clientX, event.clientY];
    });
    addEventListener("pointerup", () => (from = null));
    const step = 60;
    const keys = {
      ArrowLeft: () => this.pan(-step, 0), ArrowRight: () => this.pan(step, 0),
      ArrowUp: () => this.pan(0, -step), ArrowDown: () => this.pan(0, step),
      "+": () => this.zoom(1.25), "-": () => this.zoom(0.8), 0: () => this.fit(),
    };
    frame.addEventListener("keydown", (event) => {
      const act = keys[event.key];
      if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      act();
    });
  }

  tick(now) {
    const passed = Math.min(0.1, (now - (this.last ?? now)) / 1_000);
    this.last = now;
    if (this.place && this.tracks && !this.still.matches && !document.hidden) this.dots(passed);
    else if (this.still.matches) this.canvas.width = 0;
    requestAnimationFrame((next) => this.tick(next));
  }

  /** Moves the dots: as many pass an edge in a second as `each` books do. */
  dots(passed) {
    const { canvas, frame, view } = this;
    const scale = devicePixelRatio;
    const [width, height] = [frame.clientWidth * scale, frame.clientHeight * scale];
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, width, height);
    context.fillStyle = getComputedStyle(frame).getPropertyValue("--dot");
    const seen = this.seen();
    const size = Math.max(1.5, 3.5 * view.zoom) * scale;
    const edges = this.place.edges.filter((edge) => seen(edge.from) || seen(edge.to));
    const most = Math.min(8, Math.ceil(MOST_DRAWN / edges.length));
    context.beginPath();
    for (const edge of edges) {
      const dots = (edge.dots ??= []);
      const length = Math.hypot(edge.curve[6] - edge.curve[0], edge.curve[7] - edge.curve[1]);
      edge.due = (edge.due ?? Math.random()) + ((edge.carts ?? 0) / this.each) * passed;
      if (edge.due >= 1) {
        edge.due %= 1;
        if (dots.length < most) dots.push(0);
      }
      for (let at = dots.length - 1; at >= 0; at -= 1) {
        dots[at] += (SPEED * passed) / length;
        if (dots[at] > 1) {
          dots.splice(at, 1);
          continue;
        }
        const [x, y] = point(edge.curve, dots[at]);
        const [left, top] = [(x - view.x) * view.zoom * scale, (y - view.y) * view.zoom * scale];
        context.moveTo(left + size, top);
        // A square of a few pixels looks round, and is drawn much faster.
        if (size < 3) context.rect(left - size, top - size, 2 * size, 2 * size);
        else context.arc(left, top, size, 0, 7);
      }
    }
    context.fill();
  }
}

function cut(text, most) {
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}

function headline(node) {
  if (node.state === "down") return "down: restarting";
  if (node.state === "paused" && !node.pile) return `paused: ${node.paused ?? "its sink is unavailable"}`.slice(0, 26);
  if (node.pile) {
    const { ready, capacity, stored } = node.pile;
    return `${count(ready + stored)} ready${capacity ? ` of ${count(capacity)}` : ""}`;
  }
  if (node.balancer) return `${count(node.balancer.in_flight)} in flight · ${rate(node.per_s)} /s`;
  if (node.requester) return `${count(node.requester.in_flight)} waiting · ${rate(node.per_s)} /s`;
  return `${rate(node.per_s)} books/s`;
}

function detail(node) {
  const parts = [];
  if (node.pile) {
    if (node.held) parts.push("source paused");
    if (node.pile.leased) parts.push(`${count(node.pile.leased)} leased`);
    if (node.pile.oldest_s !== null) parts.push(`oldest ${span(node.pile.oldest_s)}`);
  } else if (node.kind === "crew" || node.kind === "incinerator") parts.push(`${count(node.books)} books`);
  else if (node.balancer) parts.push(`${count(node.balancer.answered)} answered`);
  if (node.restarts) parts.push(`${count(node.restarts)} restarts`);
  if (node.dead) parts.push(`${count(node.dead)} dead`);
  return cut(parts.join(" · "), 29);
}

/**
 * The crew, incinerator or balancer that limits the others: the one that is busy for the greatest
 * part of the time in which it neither lacks books nor waits for space. Of a crew, its busiest gopher
 * counts: the others wait for that one.
 */
export function findBottleneck(tracks) {
  const busy = new Map();
  for (const [name, track] of tracks) {
    const { kind } = track.now;
    if (!["crew", "gopher", "incinerator", "balancer"].includes(kind)) continue;
    const node = kind === "gopher" ? name.slice(0, name.lastIndexOf("/")) : name;
    const known = busy.get(node);
    const part = track.busy ?? 0;
    if (known === undefined || part > known.part) busy.set(node, { part, name });
  }
  let best = null;
  for (const [node, { part, name }] of busy) {
    const { blocked, idle } = tracks.get(node) ?? {};
    const limits = part - (blocked ?? 0) - (idle ?? 0);
    if (limits > 0.5 && limits > (best?.limits ?? 0) + 0.01) best = { limits, node, name, part };
  }
  if (best === null) return null;
  return { name: best.node, text: `Bottleneck: ${best.name}, busy ${share(best.part)}` };
}
