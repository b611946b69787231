"use strict";
const values = JSON.parse(document.getElementById("values").textContent);
const zip = (names, row) => Object.fromEntries(names.map((name, i) => [name, row[i]]));
const rows = Object.fromEntries(
  Object.entries(values.rows).map(([key, t]) => [key, t.rows.map((row) => zip(t.columns, row))]));

function drawn(element, name, more = {}) {
  const spec = structuredClone(values.specs[name]);
  spec.background = "transparent";
  spec.datasets = { ...rows, ...more };
  if (!spec.facet && !name.startsWith("confusion-")) {
    spec.width = "container";
    spec.autosize = { type: "fit-x", contains: "padding" };
  }
  const actions = { export: true, source: false, compiled: false, editor: false };
  return vegaEmbed(element, spec, { mode: "vega-lite", renderer: "svg", actions });
}

async function draw(element) {
  if (element.dataset.drawn) return;
  element.dataset.drawn = "yes";
  const { view } = await drawn(element, element.dataset.chart);
  view.addEventListener("click", (_, item) => item?.datum?.layers && choose(item.datum));
}

const panel = document.getElementById("chosen");
async function choose(datum) {
  const number = (n) => n.toLocaleString("en");
  panel.querySelector("h3").textContent = datum.name;
  panel.querySelector(".about").textContent = `${number(datum.flops)} FLOPs, ` +
    `${number(datum.params)} parameters, accuracy ${(100 * datum.test).toFixed(1)} %` +
    (datum.score == null ? "" : ` on select with shared weights, score ${datum.score.toFixed(4)}`);
  panel.querySelector("code").textContent = datum.network;
  panel.hidden = false;
  const layers = datum.layers.map((layer) => ({ network: "", ...zip(values.layers, layer) }));
  await drawn(panel.querySelector(".chart"), "candidate", { chosen: layers });
}

function select(tab, focus) {
  for (const other of tab.parentElement.children) {
    const chosen = other === tab;
    other.setAttribute("aria-selected", chosen);
    other.tabIndex = chosen ? 0 : -1;
    document.getElementById(other.getAttribute("aria-controls")).hidden = !chosen;
  }
  if (focus) tab.focus();
  shown(document.getElementById(tab.getAttribute("aria-controls")));
}

function shown(root) {
  for (const element of root.querySelectorAll("[data-chart]"))
    if (!element.closest("[hidden]")) draw(element);
}

for (const tab of document.querySelectorAll("[role=tab]")) {
  tab.addEventListener("click", () => select(tab));
  tab.addEventListener("keydown", (event) => {
    const all = [...tab.parentElement.children], at = all.indexOf(tab);
    const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    select(all[(next + all.length) % all.length], true);
  });
}
const named = new Map(Object.values(rows).flat().filter((row) => row.layers)
  .map((row) => [row.name, row]));
for (const button of document.querySelectorAll("[data-candidate]"))
  button.addEventListener("click", async () => {
    await choose(named.get(button.dataset.candidate));
    panel.scrollIntoView({ block: "nearest" });
  });
shown(document);
