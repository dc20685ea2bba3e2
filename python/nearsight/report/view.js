// The view of the targets.
//
// Own code, since no package of PyPI carries a viewer that would do: chemiscope's script has
// 3.2 MB, weas-widget's 1.1 MB and brings a web framework and scikit-image, py3Dmol's comes from
// a network. Spheres drawn from back to front are all that is needed; they print, and need no GPU.
"use strict";
(() => {
const source = byId("data");
if (!source) return;
const data = JSON.parse(source.textContent);
const [canvas, slider, panel] = [byId("canvas"), byId("slider"), byId("atom")];
const [color, mode, target] = [byId("color"), byId("mode"), byId("target")];
const context = canvas.getContext("2d");
const VIRIDIS = ["440154", "482878", "3e4a89", "31688e", "26828e", "1f9e89", "35b779", "6ece58",
  "b5de2b", "fde725"].map((hex) => rgb(`#${hex}`));
const PALE = [150, 155, 160];
let turn = [[0.82, 0, -0.57], [0.2, 0.94, 0.28], [0.54, -0.35, 0.77]];
let [zoom, chosen, drawn, sprites] = [1, null, [], new Map()];

function rgb(hex) {
  return [1, 3, 5].map((from) => parseInt(hex.slice(from, from + 2), 16));
}
const mix = (a, b, part) => a.map((value, axis) => value + part * (b[axis] - value));
const viridis = (part) => {
  const place = Math.min(Math.max(part, 0), 1) * (VIRIDIS.length - 1);
  const low = Math.min(Math.floor(place), VIRIDIS.length - 2);
  return mix(VIRIDIS[low], VIRIDIS[low + 1], place - low);
};
const current = () => data.targets[Number(target.value)];
const relaxing = () => mode.value === "relaxation" && current().relaxation;
const iteration = () => data.iterations[relaxing() ? data.kept : Number(slider.value)];

function positions() {
  const relaxation = relaxing();
  return relaxation ? relaxation.positions[Number(slider.value)] : current().positions;
}

// Vectors from an atom to all others, the nearest image of each: those of its chunk are near.
function within(center, reach) {
  const { positions: places, cell, pbc, elements } = current();
  const shifts = [];
  const range = (axis) => pbc[axis] ? [-1, 0, 1] : [0];
  for (const a of range(0)) for (const b of range(1)) for (const c of range(2))
    shifts.push([0, 1, 2].map((i) => a * cell[i] + b * cell[3 + i] + c * cell[6 + i]));
  return elements.map((_, atom) => shifts.some((shift) => {
    let square = 0;
    for (let i = 0; i < 3; i++)
      square += (places[3 * atom + i] + shift[i] - places[3 * center + i]) ** 2;
    return square <= (100 * reach) ** 2;
  }));
}

// What the atoms show: their colours, and the legend.
function shown() {
  const { first, elements, coordination } = current();
  const own = (values) => values.slice(first, first + elements.length);
  const relaxation = relaxing();
  const frame = iteration();
  const scaled = (values, all) => {
    const seen = (byId("common").checked ? all : values).filter((value) => value > 0);
    const [low, high] = [Math.min(...seen, 1e9), Math.max(...seen, 1)].map(Math.log);
    const place = (value) => high > low ? (Math.log(Math.max(value, 1)) - low) / (high - low) : 0.3;
    return { colors: values.map((value) => viridis(place(value))),
      bar: [high > low ? force(Math.exp(low)) : "all", force(Math.exp(high))] };
  };
  const flat = (key) => data.iterations.flatMap((each) => own(each[key] ?? []));
  const counted = (values, name) => {
    const most = Math.max(...values, 1);
    return { colors: values.map((value) => value < 0 ? PALE : viridis(value / most)),
      bar: [name(0), name(most)] };
  };
  switch (color.value) {
    case "uncertainty":
      return relaxation?.uncertainty
        ? scaled(relaxation.uncertainty[Number(slider.value)], relaxation.uncertainty.flat())
        : scaled(own(frame.uncertainty), flat("uncertainty"));
    case "error":
      return scaled(own(frame.error), flat("error"));
    case "force":
      return scaled(own(data.force), own(data.force));
    case "added": {
      const when = elements.map((_, atom) =>
        data.iterations.findIndex((each) => each.chunks.includes(first + atom)));
      const last = data.iterations.indexOf(frame);
      return counted(when.map((number) => number > last ? -1 : number),
        (number) => number ? data.iterations[number].name : "grey: not learned");
    }
    case "chunks": {
      const count = elements.map(() => 0);
      for (const center of frame.chunks)
        if (center >= first && center < first + elements.length)
          within(center - first, data.radius).forEach((held, atom) => { count[atom] += held; });
      return counted(count, (number) => `${number} chunks`);
    }
    case "coordination":
      return counted(coordination, (number) => `${number} neighbours`);
    default:
      return { colors: elements.map((kind) => rgb(data.elements[kind].color)),
        swatches: data.elements.filter((_, kind) => elements.includes(kind)) };
  }
}

function sprite(shade, fog, page) {
  const tint = mix(shade, page, fog);
  const key = tint.map((value) => value >> 2).join();
  if (!sprites.has(key)) {
    const made = Object.assign(document.createElement("canvas"), { width: 96, height: 96 });
    const pen = made.getContext("2d");
    const glow = pen.createRadialGradient(36, 32, 2, 48, 48, 47);
    const css = (value) => `rgb(${value.map(Math.round).join()})`;
    glow.addColorStop(0, css(mix(tint, [255, 255, 255], 0.55)));
    glow.addColorStop(0.45, css(tint));
    glow.addColorStop(0.93, css(mix(tint, [0, 0, 0], 0.4)));
    glow.addColorStop(1, css(mix(tint, [0, 0, 0], 0.65)));
    pen.fillStyle = glow;
    pen.arc(48, 48, 47, 0, 7);
    pen.fill();
    sprites.set(key, made);
  }
  return sprites.get(key);
}

function draw() {
  const ratio = Math.max(devicePixelRatio || 1, 1);
  const size = canvas.clientWidth * ratio || 900;
  if (canvas.width !== size || canvas.height !== size) canvas.width = canvas.height = size;
  const style = getComputedStyle(document.documentElement);
  const page = rgb(style.getPropertyValue("--card").trim());
  const { elements, positions: base } = current();
  const places = elements.map((_, atom) => base.slice(3 * atom, 3 * atom + 3));
  const edges = cellEdges(places);
  const middle = centre([...places, ...edges.flat()]);
  const turned = (place) => turn.map((row) =>
    row.reduce((sum, value, axis) => sum + value * (place[axis] - middle[axis]), 0));
  let reach = 1;
  const away = (place) => Math.hypot(...place.map((value, axis) => value - middle[axis]));
  places.forEach((place, atom) => {
    reach = Math.max(reach, away(place) + 100 * data.elements[elements[atom]].radius);
  });
  for (const place of edges.flat()) reach = Math.max(reach, away(place));
  const scale = zoom * size / (2 * reach);
  const onto = ([x, y]) => [size / 2 + scale * x, size / 2 - scale * y];
  const now = positions();
  const { colors, bar, swatches } = shown();
  const held = chosen === null ? null : within(chosen, data.radius);
  drawn = elements.map((kind, atom) => {
    const place = turned(now.slice(3 * atom, 3 * atom + 3));
    const [x, y] = onto(place);
    return { atom, x, y, depth: place[2], radius: scale * 100 * data.elements[kind].radius };
  }).sort((a, b) => a.depth - b.depth);
  context.clearRect(0, 0, size, size);
  context.strokeStyle = style.getPropertyValue("--grey");
  context.lineWidth = ratio;
  for (const edge of edges) {
    context.beginPath();
    for (const place of edge) context.lineTo(...onto(turned(place)));
    context.stroke();
  }
  const paint = ({ atom, x, y, depth, radius }) => {
    const fog = 0.4 * (1 - (depth / reach + 1) / 2);
    const image = sprite(colors[atom], fog, page);
    context.drawImage(image, x - radius, y - radius, 2 * radius, 2 * radius);
  };
  if (held) {  // the chunk in front of the pale rest
    context.globalAlpha = 0.13;
    drawn.filter(({ atom }) => !held[atom]).forEach(paint);
    context.globalAlpha = 1;
    drawn.filter(({ atom }) => held[atom]).forEach(paint);
    const { x, y, radius } = drawn.find(({ atom }) => atom === chosen);
    context.strokeStyle = style.getPropertyValue("--orange");
    context.lineWidth = 2.5 * ratio;
    context.beginPath();
    context.arc(x, y, radius + ratio, 0, 7);
    context.stroke();
  } else drawn.forEach(paint);
  explain(bar, swatches);
  canvas.dataset.drawn = String(Number(canvas.dataset.drawn ?? 0) + 1);
}

const centre = (places) => [0, 1, 2].map((axis) => {
  const values = places.map((place) => place[axis]);
  return (Math.min(...values) + Math.max(...values)) / 2;
});

// Edges of the cell in its periodic directions; in the others at the height of the atoms.
function cellEdges(places) {
  const { cell, pbc } = current();
  const vectors = [0, 1, 2].filter((axis) => pbc[axis]).map((axis) => cell.slice(3 * axis, 3 * axis + 3));
  const dot = (a, b) => a.reduce((sum, value, axis) => sum + value * b[axis], 0);
  const without = (place, axes) => axes.reduce((rest, axis) =>
    rest.map((value, i) => value - dot(rest, axis) / dot(axis, axis) * axis[i]), place);
  const across = [];  // the same directions, at right angles
  for (const vector of vectors) across.push(without(vector, across));
  const origin = without(centre(places), across);
  const corner = (bits) => vectors.reduce((place, vector, n) =>
    bits >> n & 1 ? place.map((value, axis) => value + vector[axis]) : place, origin);
  const found = [];
  for (let bits = 0; bits < 1 << vectors.length; bits++)
    vectors.forEach((_, n) => {
      if (!(bits >> n & 1)) found.push([corner(bits), corner(bits | 1 << n)]);
    });
  return found;
}

function explain(bar, swatches) {
  const parts = bar
    ? [element("span", bar[0]), element("span", "", { class: "bar" }), element("span", bar[1])]
    : swatches.flatMap(({ symbol, color: shade }) => {
      const swatch = element("span", "", { class: "swatch" });
      swatch.style.background = shade;
      return [swatch, element("span", symbol)];
    });
  byId("legend").replaceChildren(...parts);
  const relaxation = relaxing();
  const step = Number(slider.value);
  byId("moment").textContent = relaxation
    ? `step ${relaxation.steps[step]}, ${relaxation.energies[step].toFixed(2)} eV`
    : iteration().name + (step === data.kept ? " ★" : "");
}

function describe() {
  if (chosen === null) {
    panel.replaceChildren(element("p", data.chunked
      ? "Choose an atom: its chunk stays, the rest turns pale."
      : "Choose an atom: what is near it stays, the rest turns pale."));
    return;
  }
  const { first, elements, coordination } = current();
  const number = first + chosen;
  const frame = iteration();
  const own = relaxing()?.uncertainty?.[Number(slider.value)][chosen];
  const since = data.iterations.find((each) => each.chunks.includes(number));
  const near = within(chosen, data.radius).filter(Boolean).length;
  const facts = [
    ["uncertainty (99 %)", force(own ?? frame.uncertainty[number])],
    ["error", frame.error && !relaxing() ? force(frame.error[number]) : null],
    ["force", relaxing() ? null : force(data.force[number])],
    ["neighbours", coordination[chosen]],
    [`atoms within ${data.radius} Å`, near],
    ["chunk", data.chunked ? since ? `since ${since.name}` : "not labelled" : null],
  ];
  const list = document.createElement("dl");
  for (const [name, value] of facts)
    if (value !== null) list.append(element("dt", name), element("dd", value));
  const close = element("button", "all atoms", { type: "button" });
  close.addEventListener("click", () => choose(null));
  const symbol = data.elements[elements[chosen]].symbol;
  panel.replaceChildren(element("p", `Atom ${number}, ${symbol}`), list, close);
}

choose = (number, into = false) => {
  if (number !== null) {
    const which = data.targets.findLastIndex((each) => each.first <= number);
    if (which !== Number(target.value)) {
      target.value = String(which);
      begin();
    }
  }
  chosen = number === null ? null : number - current().first;
  for (const row of document.querySelectorAll("tr[data-atom]")) {
    row.classList.toggle("chosen", Number(row.dataset.atom) === number);
    const box = row.closest(".tall");
    if (Number(row.dataset.atom) === number)
      box.scrollTop += row.getBoundingClientRect().top - box.getBoundingClientRect().top
        - box.clientHeight / 2;
  }
  if (into) byId("structure").scrollIntoView({ block: "start" });
  refresh();
};

function refresh() {
  draw();
  describe();
}

// Another target, or another course of it.
function begin() {
  const { relaxation } = current();
  chosen = null;
  mode.querySelector("[value=relaxation]").disabled = !relaxation;
  if (!relaxation) mode.value = "training";
  slider.max = String((relaxing() ? relaxation.steps.length : data.iterations.length) - 1);
  slider.value = relaxing() ? slider.max : String(data.kept);
  const known = (key) => !relaxing() && data.iterations.every((each) => each[key]);
  const can = { error: known("error"), force: !relaxing(), added: data.chunked, chunks: data.chunked };
  for (const [name, able] of Object.entries(can)) {
    color.querySelector(`[value=${name}]`).disabled = !able;
    if (!able && color.value === name) color.value = "uncertainty";
  }
}

function rotate(right, down) {
  const product = (a, b) => a.map((row) =>
    [0, 1, 2].map((k) => row.reduce((sum, value, i) => sum + value * b[i][k], 0)));
  const [cx, sx, cy, sy] =
    [Math.cos(down), Math.sin(down), Math.cos(right), Math.sin(right)];
  turn = product(product([[1, 0, 0], [0, cx, -sx], [0, sx, cx]], [[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]]),
    turn);
  draw();
}

const enlarge = (factor) => {
  zoom = Math.min(Math.max(zoom * factor, 0.5), 8);
  draw();
};
const pointers = new Map();
let moved = 0;
canvas.addEventListener("pointerdown", (event) => {
  pointers.set(event.pointerId, event);
  if (pointers.size === 1) moved = 0;
  canvas.setPointerCapture(event.pointerId);
});
canvas.addEventListener("pointermove", (event) => {
  const before = pointers.get(event.pointerId);
  if (!before) return;
  const gap = () => {
    const [a, b] = [...pointers.values()];
    return Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
  };
  const [x, y] = [event.clientX - before.clientX, event.clientY - before.clientY];
  const old = pointers.size === 2 ? gap() : 0;
  pointers.set(event.pointerId, event);
  moved += Math.abs(x) + Math.abs(y);
  if (old) enlarge(gap() / old);
  else rotate(x / 120, y / 120);
});
canvas.addEventListener("pointerup", (event) => {
  pointers.delete(event.pointerId);
  if (moved > 5) return;
  const box = canvas.getBoundingClientRect();
  const ratio = canvas.width / box.width;
  const [x, y] = [(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio];
  const under = drawn.filter((each) => Math.hypot(each.x - x, each.y - y) <= each.radius);
  const hit = under.at(-1);
  choose(hit ? current().first + hit.atom : null);
});
canvas.addEventListener("pointercancel", (event) => pointers.delete(event.pointerId));
canvas.addEventListener("wheel", (event) => {
  if (!event.ctrlKey) return;  // else the page could not be scrolled past
  event.preventDefault();
  enlarge(Math.exp(-event.deltaY / 200));
}, { passive: false });
canvas.addEventListener("keydown", (event) => {
  const turns = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] };
  if (turns[event.key]) rotate(...turns[event.key]);
  else if ("+-".includes(event.key)) enlarge(event.key === "+" ? 1.2 : 1 / 1.2);
  else return;
  event.preventDefault();
});
byId("nearer").addEventListener("click", () => enlarge(1.3));
byId("farther").addEventListener("click", () => enlarge(1 / 1.3));
slider.addEventListener("input", refresh);
for (const each of [color, byId("common")]) each.addEventListener("change", refresh);
for (const each of [mode, target]) each.addEventListener("change", () => { begin(); refresh(); });
for (const row of document.querySelectorAll("tr[data-atom]")) {
  const number = Number(row.dataset.atom);
  const button = element("button", row.cells[0].textContent, { type: "button" });
  button.addEventListener("click", () => choose(number, true));
  row.cells[0].dataset.value = number;
  row.cells[0].replaceChildren(button);
}
for (const query of ["print", "(prefers-color-scheme: dark)"])
  matchMedia(query).addEventListener("change", () => { sprites = new Map(); draw(); });
data.targets.forEach((each, number) =>
  target.append(element("option", `${number}: ${each.name}`, { value: number })));
byId("targets").hidden = data.targets.length < 2;
document.querySelector(".view").hidden = false;
document.querySelector(".still").remove();
new ResizeObserver(draw).observe(canvas);
begin();
refresh();
})();
