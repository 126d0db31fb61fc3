// Numbers, times and elements for people.

const WHOLE = new Intl.NumberFormat("en");

export function count(value) {
  return WHOLE.format(value);
}

export function rate(value) {
  if (value >= 100) return WHOLE.format(Math.round(value));
  return value >= 10 ? value.toFixed(1) : value.toFixed(value === 0 ? 0 : 2);
}

export function share(value) {
  return value === null || value === undefined ? "" : `${Math.round(value * 100)} %`;
}

export function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB"];
  let at = 0;
  while (value >= 1024 && at < units.length - 1) {
    value /= 1024;
    at += 1;
  }
  return `${at > 0 && value < 10 ? value.toFixed(1) : Math.round(value)} ${units[at]}`;
}

export function span(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 1) return `${Math.round(seconds * 1_000)} ms`;
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(seconds / 3_600)} h ${Math.round((seconds % 3_600) / 60)} min`;
}

/** Makes an element; children are elements or text, never HTML. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") element.addEventListener("click", value);
    else if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

export function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A line over the last ten minutes; `of` takes a value from a sample. */
export function sparkline(samples, of, label, [width, height] = [120, 24]) {
  const points = samples.filter((sample) => of(sample) !== null);
  const picture = draw("svg", {
    class: "spark", viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label,
  });
  if (points.length < 2) return picture;
  const end = points[points.length - 1].atS;
  const start = Math.max(points[0].atS, end - 600);
  const most = Math.max(...points.map(of)) || 1;
  const x = (sample) => ((sample.atS - start) / (end - start || 1)) * (width - 2) + 1;
  const y = (sample) => height - 1 - (of(sample) / most) * (height - 3);
  const path = points.map((point) => `${x(point).toFixed(1)} ${y(point).toFixed(1)}`);
  picture.append(draw("path", { d: `M${path.join("L")}`, class: "line" }));
  return picture;
}
