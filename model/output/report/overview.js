// What all pages share: map, distribution of scores, sortable and searchable table, linked panels.
//
// A page's own scripts define drawOverview(), drawPanel(details), and scoreOf(index, key): the
// number by which the column of a key sorts the head's row.
"use strict";

const run = JSON.parse(document.getElementById("run").textContent);
const heads = run.heads;
const LOWEST_NSE = -0.5; // left edge of a distribution; lower scores are drawn on it
const UNDEFINED = "\u2013";

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function figure(options) {
  const made = Bokeh.Plotting.figure({
    sizing_mode: "stretch_width", height: 260, min_border_right: 12, toolbar_location: "above",
    tools: "pan,box_zoom,wheel_zoom,reset,save", ...options,
  });
  made.toolbar.logo = null;
  made.toolbar.active_scroll = null; // a page scrolls, whatever lies under the mouse
  if (matchMedia("(pointer: coarse)").matches) made.toolbar.active_drag = null;
  return made;
}

function show(parent, title, note, alternative, model) {
  const place = make("div", {role: "img", "aria-label": alternative});
  parent.append(make("figure", {}, make("figcaption", {}, title, " ", make("small", {}, note)), place));
  Bokeh.Plotting.show(model, place);
}

function digits(value, count = 3) {
  return value === null || !Number.isFinite(value) ? UNDEFINED : String(Number(value.toPrecision(count)));
}

const source = new Bokeh.ColumnDataSource({data: outlineColumns()});
const chosen = new Bokeh.ColumnDataSource({data: {xs: [], ys: []}});

function outlineColumns() {
  const middle = run.outlines.flat(2).map(ring => ring[1][0]).reduce((a, b, _, all) => a + b / all.length, 0);
  const narrow = Math.cos(middle * Math.PI / 180);
  const size = rings => Math.abs(rings[0][0].reduce((sum, x, i, all) => {
    const next = (i + 1) % all.length;
    return sum + x * rings[0][1][next] - all[next] * rings[0][1][i];
  }, 0));
  const area = run.outlines.map(polygons => polygons.reduce((sum, rings) => sum + size(rings), 0));
  // The largest first, so that watersheds inside others are drawn on top.
  const order = heads.map((_, i) => i).sort((a, b) => area[b] - area[a]);
  return {
    head: order,
    xs: order.map(i => run.outlines[i].map(rings => rings.map(ring => ring[0].map(x => x * narrow)))),
    ys: order.map(i => run.outlines[i].map(rings => rings.map(ring => ring[1]))),
    name: order.map(i => heads[i].name),
  };
}

// Draw the map. columns: of the source, each a function of a head's index; fill: properties of the
// watersheds; tooltips: of the columns; key: elements below the map.
function drawMap(title, alternative, {columns, fill, tooltips, key}) {
  source.data = {...source.data, ...Object.fromEntries(Object.entries(columns).map(([name, of]) => [name, source.data.head.map(of)]))};
  const map = figure({height: 380, match_aspect: true, tools: "pan,box_zoom,wheel_zoom,tap,reset,save"});
  map.xaxis.visible = map.yaxis.visible = map.xgrid.visible = map.ygrid.visible = false;
  const line = {line_color: "#1a1a1a", line_width: 0.7};
  const same = {fill_alpha: 1, nonselection_fill_alpha: 1, nonselection_line_alpha: 1};
  const drawn = map.multi_polygons({field: "xs"}, {field: "ys"}, {source, ...fill, ...line, ...same});
  map.multi_polygons({field: "xs"}, {field: "ys"}, {source: chosen, fill_color: null, line_color: "#ffffff", line_width: 6});
  map.multi_polygons({field: "xs"}, {field: "ys"}, {source: chosen, fill_color: null, line_color: "#000000", line_width: 3});
  map.add_tools(new Bokeh.HoverTool({renderers: [drawn], tooltips: [["", "@name"], ...tooltips]}));
  source.selected.properties.indices.change.connect(() => {
    const found = source.selected.indices;
    if (!found.length) return;
    choose(source.data.head[Math.max(...found)], true); // the smallest of those that overlap
    source.selected.indices = [];
  });
  const box = document.getElementById("map");
  show(box, title, "a watershed opens its panel", alternative, map);
  box.append(make("div", {class: "key"}, ...key));
}

function swatch(fill, text, more = "") {
  return make("span", {}, make("i", {style: `border: .45rem solid ${fill}; outline: 1px solid #777; ${more}`}), text);
}

// Draw the distribution of a score. lines: {name, scores, stroke, dash, width}, undefined scores null.
function drawDistribution(title, lines) {
  const plot = figure({height: 380, x_range: [LOWEST_NSE, 1.02], y_range: [0, 1.02]});
  plot.xaxis.axis_label = "NSE";
  plot.yaxis.axis_label = "share of heads below";
  const said = [];
  for (const {name, scores, stroke, dash, width} of lines) {
    const known = scores.filter(score => score !== null).sort((a, b) => a - b);
    if (!known.length) continue;
    const x = known.map(score => Math.max(score, LOWEST_NSE));
    plot.step([LOWEST_NSE, ...x, 1], [0, ...x.map((_, i) => (i + 1) / x.length), 1],
      "after", {line_color: stroke, line_dash: dash, line_width: width, legend_label: name});
    said.push(`${name} ${digits(median(known))}`);
  }
  plot.legend.location = "top_left";
  plot.legend.background_fill_alpha = 0.7;
  show(document.getElementById("distribution"), title, `left edge: ${LOWEST_NSE} or less`,
    `Cumulative distribution of NSE; medians: ${said.join(", ")}.`, plot);
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
}

// Choose a head: mark it in map and table, and open its panel.
function choose(index, scroll) {
  for (const marked of document.querySelectorAll(".chosen")) marked.classList.remove("chosen");
  document.querySelector(`tr[data-head="${index}"]`).classList.add("chosen");
  const panel = document.getElementById(`head-${index}`);
  panel.classList.add("chosen");
  panel.open = true;
  const place = source.data.head.indexOf(index);
  chosen.data = {xs: [source.data.xs[place]], ys: [source.data.ys[place]]};
  if (location.hash !== `#head-${index}`) history.replaceState(null, "", `#head-${index}`);
  if (scroll) panel.scrollIntoView();
}

function chooseFromAddress() {
  const found = /^#head-(\d+)$/.exec(location.hash);
  if (found && Number(found[1]) < heads.length) choose(Number(found[1]), true);
}

function linkTable() {
  const table = document.getElementById("scores"), body = table.tBodies[0];
  const names = table.tHead.querySelectorAll("th");
  for (const heading of names) {
    const button = heading.querySelector("button"), measure = button.dataset.measure;
    button.addEventListener("click", () => {
      const up = measure ? heading.ariaSort === "descending" : heading.ariaSort !== "ascending";
      for (const other of names) other.ariaSort = "none";
      heading.ariaSort = up ? "ascending" : "descending";
      const value = row => measure ? scoreOf(row.dataset.head, measure) : row.cells[0].textContent;
      const compare = (a, b) => a === b ? 0 : a === null ? 1 : b === null ? -1
        : (measure ? a - b : a.localeCompare(b)) * (up ? 1 : -1);
      body.append(...[...body.rows].sort((a, b) => compare(value(a), value(b))));
    });
  }
  body.addEventListener("click", event => {
    const link = event.target.closest("a");
    if (!link) return;
    event.preventDefault();
    choose(Number(link.closest("tr").dataset.head), true);
  });
  const search = document.getElementById("search");
  search.addEventListener("input", () => {
    const wanted = search.value.trim().toLowerCase();
    const hidden = heads.map(head => !`${head.name} ${head.site_no}`.toLowerCase().includes(wanted));
    for (const part of document.querySelectorAll("tbody tr[data-head], details.head")) part.hidden = hidden[part.dataset.head];
    document.getElementById("found").textContent = wanted ? `${hidden.filter(one => !one).length} of ${heads.length}` : "";
  });
}

document.addEventListener("DOMContentLoaded", () => {
  drawOverview();
  linkTable();
  for (const panel of document.querySelectorAll("details.head")) {
    panel.addEventListener("toggle", () => { if (panel.open) drawPanel(panel); });
  }
  addEventListener("hashchange", chooseFromAddress);
  chooseFromAddress();
});
