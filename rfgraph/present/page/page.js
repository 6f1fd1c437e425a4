"use strict";
/* What the page shows of a network. The data are those of `rfgraph.present.page`; every number that a person reads as
   text was written there, exactly. Here fields are followed from map to map, through the window of each op. */

const D = JSON.parse(document.getElementById("data").textContent);
const NODES = D.nodes;
const AXES = D.axes, LAST = AXES.length - 1;
const $ = (query, inside = document) => inside.querySelector(query);

/** Make an element: h("p", {class: "quiet"}, "text", child). Text is text: nothing is read as markup. */
function h(tag, attributes = {}, ...children) { return fill(document.createElement(tag), attributes, children); }
function s(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}
function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const plural = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;
const probe = document.body.appendChild(h("i"));
/** What a colour of the style sheet is in this light. */
const colour = (name) => { probe.style.color = `var(${name})`; return getComputedStyle(probe).color; };

// Windows. One is [kind, step, spacing, flags, border, phases]; a phase is [first, last], or 0 where it reads nothing.

const REGULAR = 1, SEAMLESS = 2, SKIPS = 4, MOST = 50000;

/** What output y reads without borders, or null. */
function interval([, step, , , , phases], y) {
  const turns = Math.floor(y / phases.length), phase = phases[y - turns * phases.length];
  return phase ? [phase[0] + turns * step, phase[1] + turns * step] : null;
}

/** What outputs a to b read of a map of `size` positions (null: no border is known): {ends, solid, exact}, null for
    nothing, or {unknown: why}. `solid`: each position between the ends is read, as each output from a to b is asked. */
function span(window, size, [a, b], solid) {
  const [kind, , spacing, flags, border, phases] = window, end = size === null ? Infinity : size - 1;
  if (kind === "?") return { unknown: phases };
  if (kind === "empty") return null;
  if (kind === "full") return { ends: [size === null ? -Infinity : 0, end], solid: true, exact: true };
  const period = phases.length, regular = flags & REGULAR, near = [];
  const finite = Number.isFinite(a) && Number.isFinite(b);
  if (finite) {
    for (let y = a; y <= Math.min(b, a + period); y++) near.push(y);
    for (let y = Math.max(b - period, a + period + 1); y <= b; y++) near.push(y);
  }
  const told = near.map((y) => interval(window, y)).filter((ends) => ends);
  if (finite && !told.length) return null;
  let first = finite ? Math.min(...told.map((ends) => ends[0])) : -Infinity;
  let last = finite ? Math.max(...told.map((ends) => ends[1])) : Infinity;
  if (kind === "past") first = size === null && last < 0 ? last : 0;
  if (kind === "future") last = end;
  if (kind !== "local") {
    first = Math.max(first, 0); last = Math.min(last, end);
    return first > last ? null : { ends: [first, last], solid: true, exact: regular || solid };
  }
  const even = spacing === 1 && !(flags & SKIPS), whole = solid && even && (a === b || Boolean(flags & SEAMLESS));
  const exact = Boolean(regular || solid);
  if (size === null || (first >= 0 && last <= end)) return { ends: [first, last], solid: whole, exact };
  if (!finite) return { ends: [0, end], solid: false, exact: false };
  if (border === "edge") return { ends: [clamp(first, 0, end), clamp(last, 0, end)], solid: whole, exact };
  if (border !== "constant") return beyond(border, first, last, end, whole && exact);
  if (flags & SKIPS) return { ends: [Math.max(first, 0), Math.min(last, end)], solid: false, exact: false };
  let low = Infinity, high = -Infinity, certain = solid || (regular && first >= 0 && last <= end);
  if (whole && b > a) {
    low = Math.max(first, 0); high = Math.min(last, end);
  } else if (b - a <= MOST) {
    for (let y = a; y <= b; y++) {
      const ends = interval(window, y);
      if (!ends) continue;
      const from = ends[0] < 0 ? ends[0] + Math.ceil(-ends[0] / spacing) * spacing : ends[0];
      const to = ends[1] > end ? ends[1] - Math.ceil((ends[1] - end) / spacing) * spacing : ends[1];
      if (from <= to) { low = Math.min(low, from); high = Math.max(high, to); }
    }
    // Where only some outputs between a and b are asked, those at both ends are, and they may tell all the same.
    const [at, to] = [interval(window, a), interval(window, b)];
    if (!solid && regular && spacing === 1 && at[1] >= 0 && to[0] <= end) certain = true;
  } else { low = Math.max(first, 0); high = Math.min(last, end); certain = false; }
  return low > high ? null : { ends: [low, high], solid: whole, exact: Boolean(certain) };
}

/** What a run reads that goes beyond a border which mirrors or repeats the map. */
function beyond(border, first, last, end, exact) {
  const turn = border === "wrap" ? end + 1 : border === "reflect" ? Math.max(2 * end, 1) : 2 * end + 2;
  let low = end, high = 0;
  if (last - first > 2 * end) return { ends: [0, end], solid: false, exact };
  for (let i = first; i <= last; i++) {
    const place = ((i % turn) + turn) % turn, at = place <= end ? place : turn - place - (border === "reflect" ? 0 : 1);
    low = Math.min(low, at); high = Math.max(high, at);
  }
  return { ends: [low, high], solid: false, exact };
}

/** Whether one box holds another. */
const holds = (one, other) => one.every(([a, b], axis) => a <= other[axis][0] && other[axis][1] <= b);

/** What a map is read at by two consumers. */
function joined(one, other) {
  if (!one || !other) return one || other;
  if (one.unknown || other.unknown) return one.unknown ? one : other;
  const exact = one.exact && other.exact;
  if (holds(one.box, other.box)) return { ...one, exact };
  if (holds(other.box, one.box)) return { ...other, exact };
  const box = one.box.map(([a, b], axis) => [Math.min(a, other.box[axis][0]), Math.max(b, other.box[axis][1])]);
  const [[a, b]] = one.box, [[c, d]] = other.box;
  const solid = box.length === 1 && one.solid && other.solid && c <= b + 1 && a <= d + 1;
  return { box, solid, exact };
}

/** Whether a node depends on the source. */
const READS = [];
NODES.forEach((node, v) => { READS[v] = v === D.source || node.reads.some(([tail]) => READS[tail]); });

/** What feature `index` of node `v` reads of every node between it and the source: Map of id -> {box, exact, solid}. */
function reach(v, index) {
  const found = new Map([[v, { box: index.map((y) => [y, y]), solid: true, exact: true }]]);
  for (let u = v; u > D.source; u--) {
    const here = found.get(u);
    if (!here) continue;
    for (const [tail, ...ids] of NODES[u].reads) {
      if (!READS[tail]) continue;
      const part = here.unknown ? here : through(NODES[tail], ids, here);
      if (part) found.set(tail, joined(found.get(tail), part));
    }
  }
  return found;
}
function through(tail, ids, here) {
  const box = [];
  let { solid, exact } = here;
  for (let axis = 0; axis < AXES.length; axis++) {
    const part = span(D.windows[ids[axis]], tail.size[axis], here.box[axis], here.solid);
    if (part === null || part.unknown) return part;
    if (!part.ends.every((end) => !Number.isFinite(end) || Number.isSafeInteger(end))) {
      return { unknown: "its numbers are too large for a browser; `rfgraph region` has them" };
    }
    box.push(part.ends);
    solid = solid && part.solid; exact = exact && part.exact;
  }
  return { box, solid, exact };
}
/** The region of a feature, as `Report.region` gives it. */
function region(v, index) { return reach(v, index).get(D.source) ?? null; }

const boxOf = (part) => (part && !part.unknown ? part.box : null);
const written = ([a, b]) => (Number.isFinite(a) && Number.isFinite(b) ? (a === b ? `${a}` : `${a}..${b}`)
  : Number.isFinite(b) ? `up to ${b}` : Number.isFinite(a) ? `from ${a} on` : "all");
function told(part) {
  if (!part) return "nothing but padding";
  if (part.unknown) return `not known: ${part.unknown}`;
  return (part.exact ? "" : "at most ") + part.box.map((ends, axis) => `${AXES[axis]} ${written(ends)}`).join(", ");
}

// The choice that all panels follow

const chosen = { node: D.first, index: AXES.map(() => 0), pinned: true };
function choose(node, index) {
  chosen.node = node;
  chosen.index = (index ?? NODES[node].size.map((n) => (n === null ? 0 : n >> 1)))
    .map((y, axis) => clamp(y, NODES[node].size[axis] === null ? -1e6 : 0, (NODES[node].size[axis] ?? 1e6 + 1) - 1));
  later(showFeature);
}
const waiting = new Set();
/** Do something once before the next frame, however often it is asked for. */
function later(task) {
  if (!waiting.size) requestAnimationFrame(() => { const tasks = [...waiting]; waiting.clear(); tasks.forEach((one) => one()); });
  waiting.add(task);
}

// Graph. Modules are laid out one by one; `place` puts together those that are open, as `drawing.arrange` does.

const G = { open: new Set(D.open), box: new Map(), zoom: 1, x: 0, y: 0, scene: null, way: new Set() };
const PAPER = 2600; // pixels down that the graph takes on paper at most
const BOX = 34, HEAD = 20, RANK_GAP = 24, COLUMN_GAP = 14, LANE = 9, ROUND = 10, CANVAS_FROM = 1500, SHOWN = 26;
const MODULE = D.modules;
const PARENT = {};
MODULE.forEach((module, m) => module.members.forEach((member) => { PARENT[member] = m; }));

const drawnAs = (member) => (member < 0 ? MODULE[-member] : NODES[member]).drawn; // its two lines, and how wide they are
function place(m) {
  const { members, edges, ranks, columns, lanes } = MODULE[m];
  const sizes = [[0, 0], [0, 0]], insides = [];
  for (const member of members) {
    const inside = member < 0 && G.open.has(-member) ? place(-member) : null;
    insides.push(inside);
    sizes.push(inside ? [inside.width, inside.height] : [drawnAs(member)[2], BOX]);
  }
  const heights = [], widths = [];
  sizes.forEach(([width, height], i) => {
    heights[ranks[i]] = Math.max(heights[ranks[i]] ?? 0, height);
    widths[columns[i]] = Math.max(widths[columns[i]] ?? 0, width);
  });
  const tops = [0], lefts = [];
  let top = HEAD, left = ROUND;
  for (const height of heights.slice(1)) { tops.push(top); top += height + RANK_GAP; }
  tops[tops.length - 1] = top = top - RANK_GAP + ROUND;
  for (const width of widths) { lefts.push(left); left += (width ?? 0) + COLUMN_GAP; }
  const right = left - COLUMN_GAP, width = right + LANE * (Math.max(-1, ...lanes) + 1) + ROUND;
  const middles = columns.map((column, i) => (i < 2 ? width / 2 : lefts[column] + widths[column] / 2));
  const lines = edges.map(([tail, head], i) => {
    const bottom = tops[ranks[tail]] + (tail ? heights[ranks[tail]] : HEAD - RANK_GAP / 2);
    const start = [middles[tail], tops[ranks[tail]] + sizes[tail][1]], end = [middles[head], tops[ranks[head]]];
    if (lanes[i] < 0) return { lane: -1, points: [start, [start[0], bottom], end] };
    const x = right + LANE * (lanes[i] + 1), out = bottom + RANK_GAP / 3, back = end[1] - RANK_GAP / 3;
    return { lane: lanes[i], points: [start, [start[0], out], [x, out], [x, back], [end[0] + 4, back], [end[0] + 4, end[1]]] };
  });
  const placed = members.map((member, i) => ({
    member, inside: insides[i], width: sizes[i + 2][0], height: sizes[i + 2][1],
    x: middles[i + 2] - sizes[i + 2][0] / 2, y: tops[ranks[i + 2]],
  }));
  return { width, height: top, placed, lines };
}
function flatten({ placed, lines }, x, y, scene) {
  for (const one of placed) {
    const box = { ...one, x: x + one.x, y: y + one.y };
    scene.boxes.push(box);
    G.box.set(one.member, box);
    if (one.inside) flatten(one.inside, box.x, box.y, scene);
  }
  for (const line of lines) scene.lines.push({ lane: line.lane, points: line.points.map(([a, b]) => [a + x, b + y]) });
  return scene;
}
function build() {
  const whole = place(0);
  G.box.clear();
  G.scene = flatten(whole, 0, 0, { boxes: [], lines: [] });
  G.width = whole.width; G.height = whole.height;
  const nodes = G.scene.boxes.filter((box) => !box.inside).length;
  G.canvas = nodes > CANVAS_FROM;
  $("#graph [role=status]").textContent = `boxes: ${nodes}, layers: ${NODES.length}`;
  const view = $("#graph .view");
  view.replaceChildren(G.canvas ? h("canvas") : drawn());
  moved();
  mark();
}
const severityOf = (member) => (member < 0 ? MODULE[-member].severity : NODES[member].severity) ?? "";
function drawn() {
  const shapes = { open: [], rest: [] };
  for (const box of G.scene.boxes) {
    const [name, about] = drawnAs(box.member), kind = box.inside ? "open" : box.member < 0 ? "folded" : "node";
    const label = `${(box.member < 0 ? MODULE[-box.member] : NODES[box.member]).name}, ${about}`;
    const at = kind === "open" ? { x: box.x + 7, y: box.y + 13 } : { x: box.x + box.width / 2, y: box.y + 14, "text-anchor": "middle" };
    const act = () => pressed(box);
    shapes[kind === "open" ? "open" : "rest"].push(s("g", {
      class: `${kind} ${severityOf(box.member)}`, tabindex: 0, role: "button", "aria-label": label, "data-member": box.member,
      "aria-expanded": box.member < 0 ? String(kind === "open") : null,
      click: () => { if (!G.dragged) act(); },
      keydown: (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); event.stopPropagation(); act(); } },
    }, s("title", {}, label), s("rect", { x: box.x, y: box.y, width: box.width, height: kind === "open" ? box.height : BOX, rx: 4 }),
    s("text", at, name),
    kind === "open" ? null : s("text", { ...at, y: box.y + 27, class: "about" }, about)));
  }
  const lines = G.scene.lines.map(({ lane, points }) =>
    s("path", { d: `M${points.map((point) => point.join(" ")).join("L")}`, stroke: lane < 0 ? colour("--quiet") : `hsl(${(lane * 67 + 200) % 360} 55% 50%)` }));
  return s("svg", { role: "group" }, ...shapes.open, ...lines, ...shapes.rest);
}
function pressed(box) {
  if (box.member >= 0) { choose(box.member); return; }
  const m = -box.member;
  if (!G.open.delete(m)) G.open.add(m);
  build();
  const again = $(`#graph [data-member="${box.member}"]`);
  if (again) again.focus({ preventScroll: true });
}
/** Draw what is in view again, after it moved. */
function moved() {
  const view = $("#graph .view"), { width, height } = view.getBoundingClientRect();
  if (!G.canvas) { $("svg", view).setAttribute("viewBox", `${G.x} ${G.y} ${width / G.zoom} ${height / G.zoom}`); return; }
  const canvas = $("canvas", view), pen = sharp(canvas, width, height);
  pen.scale(G.zoom, G.zoom);
  pen.translate(-G.x, -G.y);
  const seen = (x, y, w, t) => x < G.x + width / G.zoom && G.x < x + w && y < G.y + height / G.zoom && G.y < y + t;
  const box = ({ member, inside, x, y, width: w, height: t }) => {
    if (!seen(x, y, w, t)) return;
    const severity = severityOf(member), [name, about] = drawnAs(member);
    pen.fillStyle = colour(inside ? "--shade" : severity ? `--${severity}fill` : "--box");
    pen.strokeStyle = colour(member === chosen.node ? "--accent" : G.way.has(member) ? "--way" : severity ? `--${severity}` : "--line");
    pen.lineWidth = member < 0 && !inside ? 2.5 : 1;
    pen.fillRect(x, y, w, t); pen.strokeRect(x, y, w, t);
    if (G.zoom < 0.35) return;
    pen.fillStyle = colour("--ink"); pen.font = "11px system-ui, sans-serif"; pen.textAlign = inside ? "left" : "center";
    pen.fillText(name, inside ? x + 7 : x + w / 2, y + (inside ? 13 : 14));
    if (!inside) pen.fillText(about, x + w / 2, y + 27);
  };
  G.scene.boxes.filter((one) => one.inside).forEach(box);
  pen.strokeStyle = colour("--quiet");
  pen.beginPath();
  for (const { points } of G.scene.lines) points.forEach(([x, y], i) => (i ? pen.lineTo(x, y) : pen.moveTo(x, y)));
  pen.stroke();
  G.scene.boxes.filter((one) => !one.inside).forEach(box);
}
function mark() {
  if (G.canvas) { moved(); return; }
  for (const shape of document.querySelectorAll("#graph [data-member]")) {
    const member = Number(shape.dataset.member);
    shape.classList.toggle("way", member >= 0 ? G.way.has(member) : !G.open.has(-member) && MODULE[-member].nodes.some((v) => G.way.has(v)));
    shape.classList.toggle("chosen", member >= 0 ? member === chosen.node : !G.open.has(-member) && MODULE[-member].nodes.includes(chosen.node));
  }
}
function zoom(factor, x, y) {
  G.touched = true;
  const { width, height } = $("#graph .view").getBoundingClientRect(), before = G.zoom;
  G.zoom = clamp(G.zoom * factor, 0.02, 4);
  G.x += (x ?? width / 2) * (1 / before - 1 / G.zoom);
  G.y += (y ?? height / 2) * (1 / before - 1 / G.zoom);
  later(moved);
}
function fit() {
  const { width } = $("#graph .view").getBoundingClientRect();
  G.zoom = clamp(width / (G.width + 20), 0.3, 1.2);
  G.x = (G.width - width / G.zoom) / 2;
  G.y = -6;
  G.touched = false;
  later(moved);
}
/** Unfold what holds a node, and bring it into view. */
function reveal(v) {
  for (let m = PARENT[v]; m; m = PARENT[-m]) G.open.add(m);
  if (!G.box.has(v)) build();
  const { width, height } = $("#graph .view").getBoundingClientRect(), box = G.box.get(v);
  G.touched = true;
  G.zoom = Math.max(G.zoom, 0.6);
  G.x = box.x + box.width / 2 - width / G.zoom / 2;
  G.y = box.y + box.height / 2 - height / G.zoom / 2;
  moved();
}
function startGraph() {
  const view = $("#graph .view");
  let from = null;
  view.addEventListener("pointerdown", (event) => { from = [event.clientX, event.clientY, G.x, G.y]; G.dragged = false; });
  addEventListener("pointermove", (event) => {
    if (!from) return;
    const [x, y, left, top] = from, [dx, dy] = [event.clientX - x, event.clientY - y];
    if (Math.abs(dx) + Math.abs(dy) > 4) G.dragged = G.touched = true;
    G.x = left - dx / G.zoom; G.y = top - dy / G.zoom;
    later(moved);
  });
  addEventListener("pointerup", () => { from = null; });
  view.addEventListener("click", (event) => {
    if (!G.canvas || G.dragged) return;
    const at = view.getBoundingClientRect(), x = G.x + (event.clientX - at.left) / G.zoom, y = G.y + (event.clientY - at.top) / G.zoom;
    const hit = G.scene.boxes.filter((box) => box.x <= x && x <= box.x + box.width && box.y <= y && y <= box.y + box.height).pop();
    if (hit) pressed(hit);
  });
  view.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const at = view.getBoundingClientRect();
    zoom(Math.exp(-event.deltaY / 300), event.clientX - at.left, event.clientY - at.top);
  }, { passive: false });
  const move = (x, y) => () => { G.touched = true; G.x += x / G.zoom; G.y += y / G.zoom; later(moved); };
  const keys = { "+": () => zoom(1.3), "-": () => zoom(1 / 1.3), 0: fit,
    ArrowLeft: move(-60, 0), ArrowRight: move(60, 0), ArrowUp: move(0, -60), ArrowDown: move(0, 60) };
  view.addEventListener("keydown", (event) => { if (keys[event.key]) { keys[event.key](); event.preventDefault(); } });
  const depth = (m) => (m ? 1 + depth(PARENT[-m]) : 0);
  const doing = {
    fold: () => { G.open.clear(); build(); fit(); },
    unfold: () => { MODULE.forEach((_, m) => m && G.open.add(m)); build(); fit(); },
    deeper: () => {
      const folded = MODULE.map((_, m) => m).filter((m) => m && !G.open.has(m)), least = Math.min(...folded.map(depth));
      folded.filter((m) => depth(m) === least).forEach((m) => G.open.add(m));
      build(); fit();
    },
    in: () => zoom(1.3), out: () => zoom(1 / 1.3), fit,
  };
  for (const button of $("#graph .tools").querySelectorAll("[data-do]")) button.addEventListener("click", doing[button.dataset.do]);
  const search = $("#graph [type=search]");
  let last = -1;
  search.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !search.value) return;
    const wanted = search.value.toLowerCase(), hits = NODES.map((_, v) => v).filter((v) => NODES[v].name.toLowerCase().includes(wanted));
    const same = hits.filter((v) => NODES[v].name === search.value);
    if (!hits.length) { $("#graph [role=status]").textContent = `no layer's name holds ${search.value}`; return; }
    last = same[0] ?? hits.find((v) => v > last) ?? hits[0];
    choose(last);
    reveal(last);
    $("#graph [role=status]").textContent = `${hits.indexOf(last) + 1} of ${hits.length}: ${NODES[last].name}`;
  });
  addEventListener("beforeprint", () => { // on paper the whole graph is seen: nothing scrolls there
    const wide = view.getBoundingClientRect().width;
    G.screen = [G.zoom, G.x, G.y]; G.printing = true;
    G.zoom = Math.min(wide / (G.width + 20), PAPER / (G.height + 20), 1);
    view.style.height = `${(G.height + 20) * G.zoom}px`;
    G.x = (G.width - wide / G.zoom) / 2; G.y = -10;
    moved();
  });
  addEventListener("afterprint", () => {
    view.style.height = ""; [G.zoom, G.x, G.y] = G.screen; G.printing = false; moved();
  });
  new ResizeObserver(() => G.printing || (G.touched ? later(moved) : fit())).observe(view);
  build();
  fit();
}

// What a feature sees

let image = null;
/** Size a canvas for the screen's pixels and return what draws on it. */
function sharp(canvas, width, height) {
  const ratio = devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(width * ratio)); canvas.height = Math.max(1, Math.round(height * ratio));
  canvas.style.width = `${width}px`; canvas.style.height = `${height}px`;
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  return pen;
}
/** The rows and columns of a map that are drawn: of its last two axes; `extent` is [from, to] per axis. */
function frame(size, box, side) {
  const extent = size.map((n, axis) => {
    if (n !== null) return [0, n];
    const [a, b] = box && Number.isFinite(box[axis][0]) && Number.isFinite(box[axis][1]) ? box[axis] : [0, 0];
    const room = Math.max(4, Math.ceil((b - a) / 4));
    return [a - room, b + room + 1];
  });
  const [rows, columns] = AXES.length === 1 ? [[0, 1], extent[0]] : extent.slice(-2);
  const wide = columns[1] - columns[0], high = rows[1] - rows[0];
  const width = clamp(side * Math.min(1, wide / high), side / 8, side);
  const height = AXES.length === 1 ? side / 5 : clamp(side * Math.min(1, high / wide), side / 8, side);
  return { rows, columns, width, height, across: width / wide, down: height / high };
}
function draw(canvas, size, box, backdrop, border, side = 270) {
  const at = frame(size, box, side), pen = sharp(canvas, at.width, at.height);
  canvas.at = at;
  if (backdrop) pen.drawImage(backdrop, 0, 0, at.width, at.height);
  const line = colour("--line");
  pen.strokeStyle = line; pen.lineWidth = 1;
  for (const [ends, step, vertical] of [[at.columns, at.across, true], [at.rows, at.down, false]]) {
    let every = 1;
    while (every * step < 7) every *= 2;
    for (let i = Math.ceil(ends[0] / every) * every; i <= ends[1]; i += every) {
      const here = Math.round((i - ends[0]) * step) + 0.5;
      pen.globalAlpha = backdrop ? 0.25 : 0.7;
      pen.beginPath();
      if (vertical) { pen.moveTo(here, 0); pen.lineTo(here, at.height); } else { pen.moveTo(0, here); pen.lineTo(at.width, here); }
      pen.stroke();
    }
  }
  pen.globalAlpha = 1;
  if (!box) return;
  const [down, across] = AXES.length === 1 ? [[0, 0], box[0]] : box.slice(-2);
  const x = clamp((across[0] - at.columns[0]) * at.across, 0, at.width), y = clamp((down[0] - at.rows[0]) * at.down, 0, at.height);
  const right = clamp((across[1] + 1 - at.columns[0]) * at.across, 0, at.width);
  const bottom = clamp((down[1] + 1 - at.rows[0]) * at.down, 0, at.height);
  if (border) { // what lies outside is shaded
    pen.fillStyle = colour("--shade");
    pen.beginPath(); pen.rect(0, 0, at.width, at.height); pen.rect(x, y, right - x, bottom - y); pen.fill("evenodd");
  }
  pen.fillStyle = colour("--fill"); pen.strokeStyle = colour("--accent"); pen.lineWidth = 2;
  pen.fillRect(x, y, right - x, bottom - y); pen.strokeRect(x + 0.5, y + 0.5, Math.max(right - x - 1, 1), Math.max(bottom - y - 1, 1));
}
function pointAt(canvas, event) {
  const at = canvas.at, place = canvas.getBoundingClientRect();
  const x = Math.floor(((event.clientX - place.left) / place.width) * (at.columns[1] - at.columns[0])) + at.columns[0];
  const y = Math.floor(((event.clientY - place.top) / place.height) * (at.rows[1] - at.rows[0])) + at.rows[0];
  return AXES.length === 1 ? [x] : [...chosen.index.slice(0, -2), y, x];
}
const sizeText = (size) => size.map((n) => n ?? "?").join("\u00d7");

function showIndex() {
  const node = NODES[chosen.node], place = $("#index");
  if (place.dataset.node !== String(chosen.node)) {
    place.dataset.node = chosen.node;
    place.replaceChildren(...AXES.map((axis, a) => {
      const last = node.size[a] === null ? 63 : node.size[a] - 1;
      const set = (event) => { chosen.index[a] = Math.round(Number(event.target.value)) || 0; choose(chosen.node, chosen.index); };
      const period = D.fields[chosen.node][a][1];
      const phases = period < 2 ? null : h("input", {
        type: "range", min: 0, max: period - 1, class: "phase", "aria-label": `phase along ${axis}`,
        input: (event) => { chosen.index[a] = Math.floor(chosen.index[a] / period) * period + Number(event.target.value); choose(chosen.node, chosen.index); },
      });
      return h("div", { class: "axis" }, h("b", {}, axis),
        h("input", { type: "number", "aria-label": `index along ${axis}`, min: node.size[a] === null ? null : 0, max: node.size[a] === null ? null : last, input: set }),
        h("input", { type: "range", "aria-label": `scrub along ${axis}`, min: 0, max: last, input: set }), h("span", { class: "quiet" }, h("span"), " ", phases));
    }));
  }
  [...place.children].forEach((row, a) => {
    const [number, range] = row.querySelectorAll("input"), phase = $(".phase", row), period = D.fields[chosen.node][a][1];
    if (document.activeElement !== number) number.value = chosen.index[a];
    range.value = chosen.index[a];
    const now = ((chosen.index[a] % period) + period) % period;
    if (phase) phase.value = now;
    $("span span", row).textContent = period > 1 ? `phase ${now} of ${period}` : "each feature reads alike";
  });
}
function showFeature() {
  const node = NODES[chosen.node], found = READS[chosen.node] ? reach(chosen.node, chosen.index) : new Map();
  const source = found.get(D.source) ?? null, input = NODES[D.source];
  $("#layer").value = node.name;
  showIndex();
  const what = source?.unknown ? `what is ${told(source)}` : READS[chosen.node] ? told(source) : "nothing of the input";
  const sized = node.size.every((n) => n !== null) && input.size.every((n) => n !== null);
  $("#said").textContent = `Feature (${chosen.index.join(", ")}) of ${node.name} reads ${what}${sized ? "" : "; cut at no border: no input size is given"}.`;
  draw($("#map"), node.size, chosen.index.map((y) => [y, y]), null, false);
  draw($("#input"), input.size, boxOf(source), image, true);
  $("#mapsaid").textContent = `the map of ${node.name}, ${sizeText(node.size)}: point at a feature`;
  $("#inputsaid").textContent = `${input.name}, ${sizeText(input.size)}${AXES.length > 2 ? `: ${AXES.slice(-2).join(" and ")}` : ""}`;
  G.way = new Set([...found].filter(([, part]) => part).map(([v]) => v));
  mark();
  showWay(found);
  showChain(found);
  for (const row of document.querySelectorAll("#layertable tr[data-node]")) row.classList.toggle("chosen", Number(row.dataset.node) === chosen.node);
}
const MOST_STEPS = 300;
const IDENTITY = D.windows.map(([kind, step, , , , phases]) => kind === "local" && step === 1 && phases.length === 1 && phases[0] && phases[0][0] === 0 && phases[0][1] === 0);
const isPointwise = (v) => NODES[v].reads.length > 0 && NODES[v].reads.every(([, ...ids]) => ids.every((id) => IDENTITY[id]));
function showWay(found) {
  const all = [...found.keys()].sort((a, b) => b - a);
  const shown = all.filter((v) => v === chosen.node || v === D.source || $("#pointwise").checked || !isPointwise(v));
  const rows = shown.slice(0, MOST_STEPS).map((v) => {
    const part = found.get(v), picture = h("canvas", { "aria-hidden": "true" });
    draw(picture, NODES[v].size, boxOf(part), null, false, 44);
    return h("div", { class: "step" }, picture, h("div", {}, h("b", {}, NODES[v].name), ` ${NODES[v].op}, ${sizeText(NODES[v].size)}`,
      h("div", { class: "quiet" }, told(part))));
  });
  if (shown.length > MOST_STEPS) rows.push(h("p", { class: "quiet" }, `and ${shown.length - MOST_STEPS} more`));
  $("#way").replaceChildren(...rows);
}
/** Draw one axis of the widest path from the chosen feature to the input: a row a map, a cell a position. */
function showChain(found) {
  const axis = Number($("#axis").value), path = [];
  for (let v = chosen.node; v !== undefined;) {
    path.push(v);
    if (v === D.source) break;
    v = NODES[v].reads.map(([tail]) => tail).filter((tail) => found.has(tail))
      .sort((a, b) => D.fields[b][axis][0] - D.fields[a][axis][0] || b - a)[0];
  }
  const rows = path.filter((v, i) => !i || v === D.source || !isPointwise(v));
  const ends = rows.map((v) => boxOf(found.get(v))?.[axis]);
  const width = 560, label = 190, high = 26, tall = Math.min(rows.length, 80) * high + 8;
  const svg = s("svg", { viewBox: `0 0 ${width + label + 2} ${tall}`, role: "img", "aria-label": "cross-section" });
  let above = null;
  rows.slice(0, 80).forEach((v, i) => {
    const y = i * high + 4, n = NODES[v].size[axis], [a, b] = ends[i] ?? [0, -1];
    svg.append(s("text", { x: 0, y: y + 11 }, s("title", {}, NODES[v].name), NODES[v].name.replace(/^.*(?=.{27})/, "\u2026")));
    const finite = Number.isFinite(a) && Number.isFinite(b), reads = finite ? b - a + 1 : 0;
    const from = n !== null ? 0 : finite ? a - 1 : 0, count = n ?? (finite ? reads + 2 : 1), cell = width / count;
    const at = (place) => label + (clamp(place, from, from + count) - from) * cell;
    if (count <= 80) for (let j = 0; j < count; j++) svg.append(s("rect", { x: at(from + j) + 0.5, y, width: Math.max(cell - 1, 0.5), height: 14, class: finite && from + j >= a && from + j <= b ? "on" : null }));
    else svg.append(s("rect", { x: label, y, width, height: 14 }), s("rect", { class: "on", x: at(a), y, width: Math.max(at(b + 1) - at(a), 1), height: 14 }));
    const now = [at(a), at(b + 1), y];
    if (above && reads) svg.append(s("path", { d: `M${above[0]} ${above[2] + 14}L${now[0]} ${y}M${above[1]} ${above[2] + 14}L${now[1]} ${y}`, stroke: "currentColor", "stroke-dasharray": "2 3", fill: "none" }));
    above = reads ? now : null;
  });
  $("#chain").replaceChildren(svg);
}
function startFeature() {
  $("#layers").append(...NODES.map((node) => h("option", { value: node.name })));
  $("#axis").append(...AXES.map((axis, a) => h("option", { value: a }, axis)));
  $("#axis").value = LAST;
  $("#axis").addEventListener("change", () => later(showFeature));
  $("#pointwise").addEventListener("change", () => later(showFeature));
  $("#layer").addEventListener("change", (event) => {
    const v = NODES.findIndex((node) => node.name === event.target.value);
    if (v >= 0) { choose(v); reveal(v); } else $("#said").textContent = `no layer is called ${event.target.value}`;
  });
  const map = $("#map"), arrows = { ArrowLeft: [LAST, -1], ArrowRight: [LAST, 1], ArrowUp: [Math.max(LAST - 1, 0), -1], ArrowDown: [Math.max(LAST - 1, 0), 1] };
  map.setAttribute("aria-label", "map of the layer: arrow keys choose a feature");
  map.addEventListener("pointermove", (event) => { if (!chosen.pinned) choose(chosen.node, pointAt(map, event)); });
  map.addEventListener("pointerenter", () => { chosen.pinned = false; });
  map.addEventListener("pointerdown", (event) => { choose(chosen.node, pointAt(map, event)); chosen.pinned = !chosen.pinned; });
  map.addEventListener("keydown", (event) => {
    if (!arrows[event.key]) return;
    event.preventDefault();
    const index = [...chosen.index];
    index[arrows[event.key][0]] += arrows[event.key][1];
    choose(chosen.node, index);
  });
  const show = async (file) => {
    if (!file) return;
    try { image = await createImageBitmap(file); } catch { $("#said").textContent = `${file.name} is no picture that this browser can read`; return; }
    later(showFeature);
  };
  $("#feature [type=file]").addEventListener("change", (event) => show(event.target.files[0]));
  $("#feature [data-do=grid]").addEventListener("click", () => { image = null; later(showFeature); });
  for (const name of ["dragover", "drop"]) addEventListener(name, (event) => { event.preventDefault(); if (name === "drop") show(event.dataTransfer.files[0]); });
}

// Findings

function startFindings() {
  const place = $("#findings .cards"), MOST_CARDS = 60;
  const card = (finding) => h("article", { class: `card ${finding.severity}` },
    h("b", {}, `${finding.severity} ${finding.rule} ${finding.title}`), h("p", {}, finding.message),
    finding.picture && picture(finding.picture),
    h("ol", {}, ...finding.branches.map((branch) => h("li", {}, branch))),
    h("p", {}, h("b", {}, "advice "), finding.advice), finding.location ? h("p", { class: "quiet" }, finding.location) : null,
    finding.node === null ? null : h("button", { click: () => { choose(finding.node); reveal(finding.node); } }, "show in the graph"));
  const some = (count) => {
    place.replaceChildren(...D.findings.slice(0, count).map(card));
    if (D.findings.length > count) place.append(h("button", { click: () => some(D.findings.length) }, `show ${D.findings.length - count} more`));
  };
  some(MOST_CARDS);
  if (!D.findings.length) place.append(h("p", {}, "Nothing was found."));
}

// Tables, and what stands beside them

const MOST_ROWS = 400;
/** A table that sorts by its headings, filters by text and copies what it shows as CSV. */
function table({ columns, rows }, onRow) {
  let order = rows.map((_, i) => i), by = null, up = true, wanted = "", count = MOST_ROWS;
  const body = h("tbody"), said = h("span", { class: "quiet", role: "status" });
  const value = (text) => { const plain = text.replace(/^<=|,/g, "").split(/[x ]|\.\./)[0], number = Number(plain); return plain === "" || Number.isNaN(number) ? null : number; };
  const compare = (a, b) => {
    const [x, y] = [rows[a][by], rows[b][by]], [m, n] = [value(x), value(y)];
    return m !== null && n !== null ? m - n : m !== null ? -1 : n !== null ? 1 : x < y ? -1 : x > y ? 1 : 0;
  };
  const kept = () => order.filter((i) => !wanted || rows[i].some((cell) => cell.toLowerCase().includes(wanted)));
  const show = () => {
    const some = kept();
    body.replaceChildren(...some.slice(0, count).map((i) => h("tr", onRow ? {
      tabindex: 0, "data-node": i, click: () => onRow(i), keydown: (event) => { if (event.key === "Enter") onRow(i); },
    } : {}, ...rows[i].map((cell, c) => h("td", { class: columns[c][1] }, cell)))));
    said.replaceChildren(`${some.length} of ${plural(rows.length, "row")} `);
    if (some.length > count) said.append(h("button", { click: () => { count = Infinity; show(); } }, `show all, not the first ${count}`));
  };
  const heads = columns.map(([name, align], c) => h("th", { class: align, "aria-sort": "none" }, h("button", {
    click: () => {
      up = by === c ? !up : true; by = c;
      order = rows.map((_, i) => i).sort((a, b) => (up ? compare(a, b) : compare(b, a)) || a - b);
      heads.forEach((head, i) => head.setAttribute("aria-sort", i === c ? (up ? "ascending" : "descending") : "none"));
      show();
    },
  }, name)));
  const quoted = (cell) => (/[",\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
  const csv = () => [columns.map(([name]) => name), ...kept().map((i) => rows[i])].map((row) => row.map(quoted).join(",")).join("\r\n") + "\r\n";
  const copy = async () => {
    try { await navigator.clipboard.writeText(csv()); said.textContent = "copied"; } catch {
      const dialog = $("#copied");
      $("textarea", dialog).value = csv();
      dialog.showModal();
      $("textarea", dialog).select();
    }
  };
  show();
  return h("div", { class: "table" }, h("div", { class: "tools" },
    h("input", { type: "search", placeholder: "filter", "aria-label": "filter rows", input: (event) => { wanted = event.target.value.toLowerCase(); show(); } }),
    h("button", { click: copy }, "copy as CSV"), said), h("div", { class: "scroll", tabindex: 0 }, h("table", {}, h("thead", {}, h("tr", {}, ...heads)), body)));
}
const notes = (lines) => h("ul", {}, ...lines.map((line) => h("li", {}, line)));
/** A drawing that was made in Python: shapes are [tag, attributes, text]. */
function picture({ width, height, about, shapes }) {
  return h("figure", { class: "drawing" }, s("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": about },
    ...shapes.map(([tag, attributes, text]) => s(tag, attributes, text ?? ""))), h("figcaption", {}, about));
}
/** Viridis, which is even in lightness and told apart by all eyes, at five places. */
const HEAT = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
function heatColour(percent) {
  const at = percent / 25, i = Math.min(Math.floor(at), 3);
  return `rgb(${HEAT[i].map((from, c) => Math.round(from + (at - i) * (HEAT[i + 1][c] - from))).join(" ")})`;
}
/** A map of numbers: rows of percents of the peak. */
function heat({ cells, about }) {
  const cell = clamp(Math.floor(360 / Math.max(cells.length, cells[0].length)), 2, 24), tall = cells.length > 1 ? cell : 30;
  const canvas = h("canvas", { role: "img", "aria-label": about }), pen = sharp(canvas, cells[0].length * cell, cells.length * tall);
  cells.forEach((row, y) => row.forEach((percent, x) => {
    pen.fillStyle = heatColour(percent);
    pen.fillRect(x * cell, y * tall, cell, tall);
  }));
  return h("figure", {}, canvas, h("figcaption", {}, about));
}
const PARTS = { table, notes, picture, heat, text: (text) => h("p", {}, text), heading: (text) => h("h3", {}, text) };

function start() {
  $("#title").textContent = D.title;
  $("#glance dl").append(...D.glance.flatMap(([name, text]) => [h("dt", {}, name), h("dd", {}, text)]));
  for (const [id, parts] of Object.entries(D.panels)) {
    if (!parts.length) { $(`#${id}`).remove(); continue; }
    $(`#${id}`).append(...parts.map(([kind, value]) => PARTS[kind](value)));
  }
  $("#layertable").append(table(D.layers, (v) => choose(v)));
  $("#nav").append(...[...document.querySelectorAll("main section")].map((part) => h("a", { href: `#${part.id}` }, $("h2", part).textContent)));
  startFindings();
  startFeature();
  startGraph();
  choose(D.first);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => later(showFeature));
}
start();
