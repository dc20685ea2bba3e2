// Tables that can be sorted, and hints on the points of figures.
"use strict";
const byId = (id) => document.getElementById(id);
const element = (tag, text, attributes = {}) => {
  const made = document.createElement(tag);
  made.textContent = text;  // never as HTML
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
};
const short = (value) => value === 0 ? "0" : Math.abs(value) < 1e-3 || Math.abs(value) >= 1e5
  ? value.toExponential(1) : String(Number(value.toPrecision(3)));
const force = (micro) => micro >= 1e6 ? `${short(micro / 1e6)} eV/Å` : `${short(micro / 1e3)} meV/Å`;

// Tables

const sortBy = (table, column) => {
  const heads = [...table.tHead.rows[0].cells];
  const down = heads[column].getAttribute("aria-sort") === "ascending";
  heads.forEach((head) => head.removeAttribute("aria-sort"));
  heads[column].setAttribute("aria-sort", down ? "descending" : "ascending");
  const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
  const compare = (a, b) => {
    const [x, y] = [Number(a), Number(b)];
    const unknown = (text, number) => text === "None" || text === "–" || text === "" ? 1 : 0;
    if (unknown(a) || unknown(b)) return (unknown(a) - unknown(b)) * (down ? -1 : 1);
    return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
  };
  const rows = [...table.tBodies[0].rows].map((row) => [value(row), row]);
  rows.sort(([a], [b]) => (down ? -1 : 1) * compare(a, b));
  table.tBodies[0].append(...rows.map(([, row]) => row));
};
for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = element("button", "", { type: "button" });
    button.append(...head.childNodes);
    button.addEventListener("click", () => sortBy(table, column));
    head.append(button);
  });
}

// Hints on the points of figures

let choose = () => {};
const hint = element("div", "", { class: "hint", hidden: "" });
document.body.append(hint);
const pointed = (event) => {
  const point = event.target.closest?.("use");
  const group = point?.closest("[data-points]");
  if (!group) return null;
  const index = [...group.querySelectorAll("use")].indexOf(point);
  const values = group.dataset.points.split(" ").map(Number).slice(2 * index, 2 * index + 2);
  const atom = group.dataset.atoms?.split(" ").map(Number)[index];
  return { group, values, atom };
};
document.addEventListener("pointerover", (event) => {
  const found = pointed(event);
  hint.hidden = !found;
  if (!found) return;
  const { label, x, y } = found.group.dataset;
  const lines = [found.atom === undefined ? label : `atom ${found.atom}`];
  lines.push(`${x}: ${short(found.values[0])}`, `${y}: ${short(found.values[1])}`);
  hint.replaceChildren(...lines.filter(Boolean).map((line) => element("div", line)));
  const left = Math.min(event.pageX + 12, scrollX + innerWidth - hint.offsetWidth - 20);
  hint.style.left = `${Math.max(left, 0)}px`;
  hint.style.top = `${event.pageY + 14}px`;
});
document.addEventListener("click", (event) => {
  const found = pointed(event);
  if (found?.atom !== undefined) choose(found.atom, true);
});
