// A head's panel, drawn when it is opened from the block of its numbers.
"use strict";

const SIMULATED = [{name: "simulated", key: "simulated", stroke: OWN, dash: "solid"}];

async function drawPanel(details) {
  const place = details.querySelector(".panel");
  if (place.childElementCount) return;
  const index = Number(details.dataset.head), head = heads[index];
  place.append(scoreList(head));
  const block = await unpack(document.getElementById(`block-${index}`).textContent);
  const zoom = drawHydrograph(place, head, block, SIMULATED);
  const names = ["observed, m³ s⁻¹", "simulated, m³ s⁻¹", run.measures.peak_error ?? "peak error, %", "lag, steps"];
  if (block.floods.length) place.append(floodTable(block, zoom, names, floodCells));
  const grid = make("div", {class: "grid"});
  place.append(grid);
  drawDuration(grid, head, block, SIMULATED);
  drawScatter(grid, head, block, SIMULATED[0]);
  drawKlingGupta(grid, head);
  if (block.kernel) drawKernel(grid, head, block);
  if (block.delivered) drawCells(grid, head, block);
  if (block.update) drawLearning(grid, head, block);
}

function scoreList(head) {
  return make("dl", {class: "list"}, ...Object.entries(run.measures).map(([key, name]) =>
    make("div", {}, make("dt", {}, name, " "), make("dd", {}, digits(head[key])))));
}

function floodCells(flood) {
  const [error] = flood.peak_error, [lag] = flood.lag;
  return [digits(flood.observed), digits(flood.simulated[0]),
    error === null ? UNDEFINED : (error > 0 ? "+" : "") + error.toFixed(0), (lag > 0 ? "+" : "") + lag];
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
