// Pure: where the nodes and ways of a topology are on the map.

export const BOX = { width: 168, height: 64 };
const GAP = { x: 56, y: 22 };

/** Sweeps over the ranks that reduce crossings. */
const SWEEPS = 4;

/**
 * Puts nodes in columns by their layer, and ways (crews, relays, requests) in columns between
 * them. Within a column, each is near the mean of its neighbours. Coordinates are of upper left
 * corners; edges have their two ends.
 */
export function layout(drawing) {
  const items = new Map();
  for (const node of drawing.nodes) items.set(node.name, { ...node, rank: 2 * node.layer, before: [], behind: [] });
  for (const way of drawing.ways) {
    const from = items.get(way.from);
    const to = items.get(way.to);
    if (!from || !to) continue;
    const item = { ...way, rank: from.rank + 1, before: [from], behind: [to] };
    from.behind.push(item);
    to.before.push(item);
    items.set(way.name, item);
  }
  for (const { from, to } of drawing.asks) {
    const [asker, balancer] = [items.get(from), items.get(to)];
    if (!asker || !balancer) continue;
    asker.behind.push(balancer);
    balancer.before.push(asker);
  }
  const ranks = [];
  for (const item of items.values()) (ranks[item.rank] ??= []).push(item);
  const columns = ranks.filter(Boolean);
  number(columns);
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    const forwards = sweep % 2 === 0;
    for (const column of forwards ? columns : [...columns].reverse()) {
      const mean = (item) => {
        const near = forwards ? item.before : item.behind;
        return near.length ? near.reduce((sum, other) => sum + other.at, 0) / near.length : item.at;
      };
      const places = new Map(column.map((item) => [item, mean(item)]));
      column.sort((a, b) => places.get(a) - places.get(b) || a.at - b.at);
      number([column]);
    }
  }
  const tallest = Math.max(1, ...columns.map((column) => column.length));
  const height = tallest * (BOX.height + GAP.y) + GAP.y;
  columns.forEach((column, index) => {
    const room = height / column.length;
    column.forEach((item, at) => {
      item.x = GAP.x / 2 + index * (BOX.width + GAP.x);
      item.y = room * (at + 0.5) - BOX.height / 2;
    });
  });
  const edges = [];
  for (const item of items.values()) {
    for (const to of item.behind) edges.push({ from: item, to, way: item.layer === undefined ? item : to });
  }
  return { items: [...items.values()], edges, width: columns.length * (BOX.width + GAP.x), height };
}

function number(columns) {
  for (const column of columns) column.forEach((item, at) => (item.at = at - (column.length - 1) / 2));
}

/** The ends and control points of an edge. */
export function curve({ from, to }) {
  const x1 = from.x + BOX.width;
  const y1 = from.y + BOX.height / 2;
  const x2 = to.x;
  const y2 = to.y + BOX.height / 2;
  const bend = Math.max(24, (x2 - x1) / 2);
  return [x1, y1, x1 + bend, y1, x2 - bend, y2, x2, y2];
}

/** A point of a cubic curve, `t` from 0 to 1. */
export function point([x1, y1, x2, y2, x3, y3, x4, y4], t) {
  const u = 1 - t;
  const [a, b, c, d] = [u * u * u, 3 * u * u * t, 3 * u * t * t, t * t * t];
  return [a * x1 + b * x2 + c * x3 + d * x4, a * y1 + b * y2 + c * y3 + d * y4];
}
