"use strict";
const by = (id) => document.getElementById(id);
const token = document.querySelector("meta[name=token]").content;
const before = new Map();

function shape(kind, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", kind);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text) made.textContent = text;
  by("map").append(made);
}
function item(text) {
  const made = document.createElement("li");
  made.textContent = text;
  return made;
}
function note(what, value) {
  if (before.has(what) && before.get(what) !== value) {
    by("events").prepend(item(`${new Date().toLocaleTimeString()} ${what}: ${value}`));
    while (by("events").children.length > 50) by("events").lastChild.remove();
  }
  before.set(what, value);
}
async function press(what, node) {
  by("said").textContent = `${what} ${node} …`;
  const answer = await fetch("do", { method: "POST", headers: { "X-Dashboard-Token": token },
    body: JSON.stringify({ do: what, node }) });
  by("said").textContent = `${what} ${node}: ${await answer.text()}`;
}
function rows(nodes) {
  for (const { name, running, ready } of nodes) {
    const word = ready ? "ready" : running ? "not ready" : "down";
    note(name, word);
    let row = by(`node-${name}`);
    if (!row) {  // made once, so that the keyboard's focus stays where it is
      row = item("");
      row.id = `node-${name}`;
      row.append(document.createElement("span"));
      for (const what of ["kill", "start"]) {
        const button = document.createElement("button");
        button.textContent = `${what} ${name}`;
        button.addEventListener("click", () => press(what, name));
        row.append(button);
      }
      by("nodes").append(row);
    }
    row.firstChild.textContent = `${name}: ${word}`;
  }
}
function draw({ nodes, links }) {
  by("map").replaceChildren();
  const at = new Map(nodes.map(({ name }, i) => {
    const turn = 2 * Math.PI * i / nodes.length - Math.PI / 2;
    return [name, [320 + 220 * Math.cos(turn), 220 + 165 * Math.sin(turn)]];
  }));
  for (const { ends, bits } of links) {
    const [one, other] = ends.map((name) => at.get(name));
    if (!one || !other) continue;
    shape("line", { x1: one[0], y1: one[1], x2: other[0], y2: other[1], class: bits ? "" : "empty" });
    shape("text", { x: (one[0] + other[0]) / 2, y: (one[1] + other[1]) / 2 }, `${bits.toLocaleString("en")} bits`);
  }
  for (const { name, ready } of nodes) {
    const [x, y] = at.get(name);
    shape("circle", { cx: x, cy: y, r: 24, class: ready ? "" : "down" });
    shape("text", { x, y: y + 42 }, `${name}${ready ? "" : " (down)"}`);
  }
}
const source = new EventSource("events");
source.addEventListener("error", () => { by("said").textContent = "no answer from the dashboard"; });
source.addEventListener("message", ({ data }) => {
  const told = JSON.parse(data);
  if (told.failed) { by("said").textContent = told.failed; return; }
  if (by("said").textContent.startsWith("waiting") || by("said").textContent.startsWith("no answer")) by("said").textContent = "live";
  draw(told);
  rows(told.nodes);
  by("links").replaceChildren(...told.links.map(({ ends, bits }) =>
    item(`${ends.join(" – ")}: ${bits.toLocaleString("en")} bits in store`)));
  by("sessions").replaceChildren(...told.sessions.map((s) => {
    const way = s.paths.map((path) => path.join(" → ")).join("; ") || "no path";
    note(`${s.from} to ${s.to}`, `${s.state}, ${way}`);
    return item(`${s.from} to ${s.to}: ${s.state}, ${way}`);
  }));
});
