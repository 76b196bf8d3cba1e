// A head's panel, drawn when it is opened from the block of its numbers.
"use strict";

const OBSERVED = "#1a1a1a", RAIN = "#56b4e9", DAY = 86_400_000;

// Unpack a block, see blocks.py.
async function unpack(text) {
  const packed = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const content = await new Response(stream).arrayBuffer();
  const size = new DataView(content).getUint32(0, true);
  const block = JSON.parse(new TextDecoder().decode(new Uint8Array(content, 4, size)));
  let at = 4 + size;
  for (const [name, length] of block.arrays) {
    const planes = new Uint8Array(content, at, 4 * length), bytes = new Uint8Array(4 * length);
    for (let i = 0; i < length; i++) for (let j = 0; j < 4; j++) bytes[4 * i + j] = planes[j * length + i];
    block[name] = new Float32Array(bytes.buffer);
    at += 4 * length;
  }
  return block;
}

async function drawPanel(details) {
  const place = details.querySelector(".panel");
  if (place.childElementCount) return;
  const index = Number(details.dataset.head), head = heads[index];
  place.append(scoreList(head));
  const block = await unpack(document.getElementById(`block-${index}`).textContent);
  const moments = momentsOf(block);
  const zoom = drawHydrograph(place, head, block, moments);
  if (block.floods.length) place.append(floodTable(block, zoom));
  const grid = make("div", {class: "grid"});
  place.append(grid);
  drawDuration(grid, head, block);
  drawScatter(grid, head, block);
  drawKlingGupta(grid, head);
  if (block.kernel) drawKernel(grid, head, block);
  if (block.delivered) drawCells(grid, head, block);
  if (block.update) drawLearning(grid, head, block);
}

function scoreList(head) {
  return make("dl", {class: "list"}, ...Object.entries(run.measures).map(([key, name]) =>
    make("div", {}, make("dt", {}, name, " "), make("dd", {}, digits(head[key])))));
}

// Start of each step [ms since 1970], with the place of a gap between two parts of the test.
function momentsOf(block) {
  const starts = [], breaks = [];
  for (const [start, count] of block.segments) {
    for (let i = 0; i < count; i++) starts.push(start + i * block.step);
    breaks.push(starts.length);
  }
  return {starts, breaks: breaks.slice(0, -1)};
}

function stepName(block) {
  return {[3_600_000]: "hour", [DAY]: "day"}[block.step] ?? "step";
}

function when(milliseconds, block) {
  const text = new Date(milliseconds).toISOString();
  return block.step < DAY ? `${text.slice(0, 10)} ${text.slice(11, 16)}` : text.slice(0, 10);
}

function drawHydrograph(place, head, block, {starts, breaks}) {
  const begin = starts[0], end = starts.at(-1) + block.step;
  const box = make("div"), log = make("button", {type: "button", "aria-pressed": "false"}, "log axis");
  const whole = make("button", {type: "button"}, "whole test part");
  const line = (stroke, text) => make("span", {}, make("i", {style: `color: ${stroke}`}), text);
  place.append(make("div", {class: "tools"}, log, " ", whole, " ",
    make("span", {class: "key"}, line(OBSERVED, "observed"), line(OWN, "simulated"), line(RAIN, "rain"))), box);
  let x = new Bokeh.Range1d({start: begin, end});
  const zoom = (first, last) => { x.start = Math.max(begin, first); x.end = Math.min(end, last); };
  // A missing value between two parts of the test breaks the lines.
  const broken = (values, gap) => {
    const found = Array.from(values);
    for (const at of [...breaks].reverse()) found.splice(at, 0, gap);
    return found;
  };
  const middle = broken(starts.map(start => start + block.step / 2), NaN);
  const observed = broken(block.observed, NaN), simulated = broken(block.simulated, NaN);
  const tops = [...block.observed, ...block.simulated].filter(Number.isFinite);
  const highest = tops.reduce((a, b) => Math.max(a, b), 0) || 1;
  const lowest = tops.reduce((a, b) => b > 0 && b < a ? b : a, highest);
  const wet = starts.map((_, i) => i).filter(i => block.rain[i] > 0);
  const most = wet.reduce((a, i) => Math.max(a, block.rain[i]), 0);

  function draw(logarithmic) {
    x = new Bokeh.Range1d({start: x.start, end: x.end}); // each drawing has models of its own
    const above = figure({height: 110, x_axis_type: "datetime", x_range: x, y_range: [most * 1.05 || 1, 0], tools: "", toolbar_location: null, min_border_left: 64, min_border_bottom: 0});
    above.xaxis.visible = false;
    above.yaxis.axis_label = `mm per ${stepName(block)}`;
    above.yaxis.ticker = new Bokeh.BasicTicker({desired_num_ticks: 3});
    above.quad({left: wet.map(i => starts[i]), right: wet.map(i => starts[i] + block.step), top: 0, bottom: wet.map(i => block.rain[i]), fill_color: RAIN, line_color: RAIN, line_width: 0.5});
    const positive = values => logarithmic ? values.map(value => value > 0 ? value : NaN) : values;
    const below = figure({
      height: 300, x_axis_type: "datetime", x_range: x, min_border_left: 64, tools: "xpan,xbox_zoom,xwheel_zoom,reset,save",
      y_axis_type: logarithmic ? "log" : "linear", y_range: logarithmic ? [lowest / 1.3, highest * 1.3] : [0, highest * 1.06],
    });
    below.yaxis.axis_label = "discharge, m³ s⁻¹";
    below.xaxis.formatter = new Bokeh.DatetimeTickFormatter({hours: "%d %b %H:%M", days: "%d %b %Y", months: "%b %Y", years: "%Y"});
    below.line(middle, positive(observed), {line_color: OBSERVED, line_width: 1.6});
    below.line(middle, positive(simulated), {line_color: OWN, line_width: 1.6});
    const data = {x: middle, observed, simulated};
    const dots = below.scatter({field: "x"}, {field: "observed"}, {source: new Bokeh.ColumnDataSource({data}), size: 4, fill_alpha: 0, line_alpha: 0});
    below.add_tools(new Bokeh.HoverTool({renderers: [dots], mode: "vline", formatters: {"@x": "datetime"},
      tooltips: [["", block.step < DAY ? "@x{%F %H:%M}" : "@x{%F}"], ["observed", "@observed{0.000}"], ["simulated", "@simulated{0.000}"]]}));
    box.replaceChildren();
    const flood = block.floods[0];
    show(box, "Hydrograph of the test part", "rain from above; drag to zoom", `Hydrograph of ${head.name}, ${when(begin, block)} to ${when(end, block)}` +
      (flood ? `; the largest flood, ${when(flood.time, block)}, is ${digits(flood.observed)} m³/s observed and ${digits(flood.simulated)} m³/s simulated.` : "."),
      new Bokeh.Column({children: [above, below], sizing_mode: "stretch_width", spacing: 0}));
  }
  log.addEventListener("click", () => {
    const on = log.ariaPressed !== "true";
    log.ariaPressed = String(on);
    draw(on);
  });
  whole.addEventListener("click", () => zoom(begin, end));
  draw(false);
  return zoom;
}

function floodTable(block, zoom) {
  const names = ["largest floods", "observed, m³ s⁻¹", "simulated, m³ s⁻¹", run.measures.peak_error ?? "peak error, %", "lag, steps"];
  const rows = block.floods.map(flood => {
    const button = make("button", {type: "button", title: "zoom to this flood"}, when(flood.time, block));
    const around = block.step < DAY ? [2 * DAY, 5 * DAY] : [10 * DAY, 20 * DAY];
    button.addEventListener("click", () => zoom(flood.time - around[0], flood.time + around[1]));
    const cells = [digits(flood.observed), digits(flood.simulated),
      flood.peak_error === null ? UNDEFINED : (flood.peak_error > 0 ? "+" : "") + flood.peak_error.toFixed(0), (flood.lag > 0 ? "+" : "") + flood.lag];
    return make("tr", {}, make("th", {scope: "row", class: "tools"}, button), ...cells.map(text => make("td", {}, text)));
  });
  return make("div", {class: "wide"}, make("table", {},
    make("thead", {}, make("tr", {}, ...names.map(name => make("th", {scope: "col"}, name)))), make("tbody", {}, ...rows)));
}

function paired(block) {
  const both = Array.from(block.observed, (_, i) => i).filter(i => Number.isFinite(block.observed[i]) && Number.isFinite(block.simulated[i]));
  return {observed: both.map(i => block.observed[i]), simulated: both.map(i => block.simulated[i])};
}

function drawDuration(grid, head, block) {
  const {observed, simulated} = paired(block);
  if (!observed.length) return;
  const plot = figure({y_axis_type: "log"});
  plot.xaxis.axis_label = "% of time exceeded";
  plot.yaxis.axis_label = "m³ s⁻¹";
  for (const [values, stroke, dash] of [[observed, OBSERVED, "solid"], [simulated, OWN, "dashed"]]) {
    const sorted = values.map(value => value > 0 ? value : NaN).sort((a, b) => b - a);
    plot.line(sorted.map((_, i) => 100 * (i + 0.5) / sorted.length), sorted, {line_color: stroke, line_dash: dash, line_width: 2});
  }
  const median = values => [...values].sort((a, b) => a - b)[values.length >> 1];
  show(grid, "Flow-duration curve", "black: observed, dashed: simulated",
    `Flow-duration curves of ${head.name}; half of the time flow exceeds ${digits(median(observed))} m³/s observed and ${digits(median(simulated))} m³/s simulated.`, plot);
}

function drawScatter(grid, head, block) {
  const {observed, simulated} = paired(block);
  if (!observed.length) return;
  const top = 1.05 * [...observed, ...simulated].reduce((a, b) => Math.max(a, b), 0) || 1;
  const plot = figure({x_range: [0, top], y_range: [0, top]});
  plot.xaxis.axis_label = "observed, m³ s⁻¹";
  plot.yaxis.axis_label = "simulated, m³ s⁻¹";
  plot.line([0, top], [0, top], {line_color: "#5f5f5f", line_dash: "dashed"});
  plot.scatter(observed, simulated, {size: 4, fill_color: OWN, fill_alpha: 0.4, line_color: null});
  show(grid, "Observed against simulated", "dashed: equal", `Observed against simulated discharge of ${head.name}, ${observed.length} steps, NSE ${digits(head.nse)}.`, plot);
}

function drawKlingGupta(grid, head) {
  const parts = ["kge_r", "kge_alpha", "kge_beta"].filter(key => Number.isFinite(head[key]));
  if (!parts.length) return;
  const names = parts.map(key => run.measures[key]).reverse(), values = parts.map(key => head[key]).reverse();
  const plot = figure({y_range: names, x_range: [Math.min(0, ...values), Math.max(1.5, ...values) * 1.05], tools: "", toolbar_location: null});
  plot.xaxis.axis_label = "1 is perfect";
  plot.line([1, 1], [names[0], names.at(-1)], {line_color: "#5f5f5f", line_dash: "dashed"});
  plot.segment({x0: names.map(() => 1), y0: names, x1: values, y1: names, line_color: OWN, line_width: 2});
  plot.scatter(values, names, {size: 12, fill_color: OWN, line_color: "#fff"});
  show(grid, "Parts of KGE", `KGE ${digits(head.kge)}`, `KGE ${digits(head.kge)} of ${head.name}: ${parts.map(key => `${run.measures[key]} ${digits(head[key])}`).join(", ")}.`, plot);
}

function drawKernel(grid, head, block) {
  const plot = figure({});
  plot.xaxis.axis_label = `${stepName(block)}s after the rain`;
  plot.yaxis.axis_label = "% of the rain";
  const lags = Array.from(block.kernel, (_, i) => i), shares = Array.from(block.kernel, share => 100 * share);
  const last = Math.max(4, shares.reduce((found, share, i) => share > 0.1 ? i : found, 0) + 1);
  plot.quad({left: lags.map(lag => lag - 0.45), right: lags.map(lag => lag + 0.45), bottom: 0, top: shares, fill_color: RAIN, line_color: "#0072b2"});
  plot.x_range = new Bokeh.Range1d({start: -0.7, end: last + 0.7});
  const top = shares.indexOf(Math.max(...shares));
  show(grid, "Learned travel time", `velocity ${digits(head.velocity, 2)} m s⁻¹`, `Learned travel times of ${head.name}: most rain, ${digits(shares[top], 2)} %, arrives after ${top} ${stepName(block)}s.`, plot);
}

function drawCells(grid, head, block) {
  const [width, height] = block.cell_size, narrow = Math.cos(block.latitude[0] * Math.PI / 180);
  const values = Array.from(block.delivered), low = Math.min(...values), high = Math.max(...values);
  const scale = value => run.colours[Math.min(9, Math.floor(10 * (value - low) / (high - low || 1)))];
  const plot = figure({match_aspect: true});
  plot.xaxis.visible = plot.yaxis.visible = plot.xgrid.visible = plot.ygrid.visible = false;
  const data = {x: Array.from(block.longitude, x => x * narrow), y: Array.from(block.latitude), value: values, colour: values.map(scale)};
  const cells = plot.rect({field: "x"}, {field: "y"}, width * narrow, height, {source: new Bokeh.ColumnDataSource({data}), fill_color: {field: "colour"}, line_color: "#fff", line_width: 0.5});
  plot.add_tools(new Bokeh.HoverTool({renderers: [cells], tooltips: [["contribution", "@value{0.00}"]]}));
  const outline = run.outlines[heads.indexOf(head)];
  for (const rings of outline) for (const [x, y] of rings) plot.line(x.map(one => one * narrow), y, {line_color: OBSERVED, line_width: 1.5});
  plot.scatter([block.outlet[0] * narrow], [block.outlet[1]], {marker: "triangle", size: 11, fill_color: OWN, line_color: "#fff"});
  show(grid, "Contribution of the cells", `${digits(low, 2)} (dark) to ${digits(high, 2)} (light): of an even rain, relative to the cell's area; triangle: outlet`,
    `Map of ${values.length} cells of ${head.name}: contributions relative to their area from ${digits(low, 2)} to ${digits(high, 2)}.`, plot);
}

function drawLearning(grid, head, block) {
  const updates = Array.from(block.update), scores = Array.from(block.validation_nse), losses = Array.from(block.loss);
  const known = losses.filter(loss => loss > 0);
  const plot = figure({});
  plot.xaxis.axis_label = "update";
  plot.yaxis.axis_label = "validation NSE";
  plot.line(updates, scores, {line_color: OWN, line_width: 2});
  plot.scatter(updates, scores, {size: 5, fill_color: OWN, line_color: null});
  const kept = updates.indexOf(block.kept_update);
  if (kept >= 0) plot.scatter([updates[kept]], [scores[kept]], {size: 13, fill_color: null, line_color: OBSERVED, line_width: 2});
  const pair = new Bokeh.Column({children: [plot], sizing_mode: "stretch_width"});
  if (known.length) {
    plot.height = 140;
    const below = figure({height: 120, y_axis_type: "log", x_range: plot.x_range, tools: "", toolbar_location: null});
    below.yaxis.axis_label = "loss";
    below.yaxis.ticker = new Bokeh.LogTicker({desired_num_ticks: 3, num_minor_ticks: 0});
    below.line(updates, losses.map(loss => loss > 0 ? loss : NaN), {line_color: "#0072b2", line_width: 2});
    pair.children = [plot, below];
  }
  show(grid, "Learning", "ring: the weights that are kept", `Validation NSE of ${head.name} over ${updates.at(-1)} updates; kept are the weights of update ${block.kept_update}.`, pair);
}
