// Hydrographs, and the block of numbers that a panel is drawn from.
//
// A panel shows observed discharge and lines, each {name, key, stroke, dash}; the key names the
// line's array of the block. A flood of the block has an array `simulated`, a number a line.
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

function keyLine(stroke, text, dash = "solid") {
  return make("span", {}, make("i", {style: `color: ${stroke}; border-top-style: ${dash === "solid" ? dash : "dashed"}`}), text);
}

function drawHydrograph(place, head, block, lines) {
  const {starts, breaks} = momentsOf(block);
  const begin = starts[0], end = starts.at(-1) + block.step;
  const box = make("div"), log = make("button", {type: "button", "aria-pressed": "false"}, "log axis");
  const whole = make("button", {type: "button"}, "whole test part");
  place.append(make("div", {class: "tools"}, log, " ", whole, " ",
    make("span", {class: "key"}, keyLine(OBSERVED, "observed"),
      ...lines.map(line => keyLine(line.stroke, line.name, line.dash)), keyLine(RAIN, "rain"))), box);
  let x = new Bokeh.Range1d({start: begin, end});
  const zoom = (first, last) => { x.start = Math.max(begin, first); x.end = Math.min(end, last); };
  // A missing value between two parts of the test breaks the lines.
  const broken = (values, gap) => {
    const found = Array.from(values);
    for (const at of [...breaks].reverse()) found.splice(at, 0, gap);
    return found;
  };
  const middle = broken(starts.map(start => start + block.step / 2), NaN);
  const observed = broken(block.observed, NaN), simulated = lines.map(line => broken(block[line.key], NaN));
  const tops = [observed, ...simulated].flat().filter(Number.isFinite);
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
    lines.forEach((line, i) => below.line(middle, positive(simulated[i]), {line_color: line.stroke, line_dash: line.dash, line_width: 1.6}));
    const data = {x: middle, observed, ...Object.fromEntries(lines.map((line, i) => [line.key, simulated[i]]))};
    const dots = below.scatter({field: "x"}, {field: "observed"}, {source: new Bokeh.ColumnDataSource({data}), size: 4, fill_alpha: 0, line_alpha: 0});
    below.add_tools(new Bokeh.HoverTool({renderers: [dots], mode: "vline", formatters: {"@x": "datetime"},
      tooltips: [["", block.step < DAY ? "@x{%F %H:%M}" : "@x{%F}"], ["observed", "@observed{0.000}"],
        ...lines.map(line => [line.name, `@${line.key}{0.000}`])]}));
    box.replaceChildren();
    const flood = block.floods[0];
    const peaks = () => lines.map((line, i) => `${digits(flood.simulated[i])} m³/s ${line.name}`).join(", ");
    show(box, "Hydrograph of the test part", "rain from above; drag to zoom", `Hydrograph of ${head.name}, ${when(begin, block)} to ${when(end, block)}` +
      (flood ? `; the largest flood, ${when(flood.time, block)}, is ${digits(flood.observed)} m³/s observed, ${peaks()}.` : "."),
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

function floodTable(block, zoom, names, cellsOf) {
  const rows = block.floods.map(flood => {
    const button = make("button", {type: "button", title: "zoom to this flood"}, when(flood.time, block));
    const around = block.step < DAY ? [2 * DAY, 5 * DAY] : [10 * DAY, 20 * DAY];
    button.addEventListener("click", () => zoom(flood.time - around[0], flood.time + around[1]));
    return make("tr", {}, make("th", {scope: "row", class: "tools"}, button), ...cellsOf(flood).map(text => make("td", {}, text)));
  });
  return make("div", {class: "wide"}, make("table", {},
    make("thead", {}, make("tr", {}, ...["largest floods", ...names].map(name => make("th", {scope: "col"}, name)))), make("tbody", {}, ...rows)));
}

// Observed discharge and that of all lines where all of them are known.
function paired(block, lines) {
  const all = [block.observed, ...lines.map(line => block[line.key])];
  const known = Array.from(block.observed, (_, i) => i).filter(i => all.every(values => Number.isFinite(values[i])));
  return all.map(values => known.map(i => values[i]));
}

function drawDuration(grid, head, block, lines) {
  const series = paired(block, lines), names = ["observed", ...lines.map(line => line.name)];
  if (!series[0].length) return;
  const plot = figure({y_axis_type: "log"});
  plot.xaxis.axis_label = "% of time exceeded";
  plot.yaxis.axis_label = "m³ s⁻¹";
  series.forEach((values, i) => {
    const sorted = values.map(value => value > 0 ? value : NaN).sort((a, b) => b - a);
    const {stroke, dash} = i ? lines[i - 1] : {stroke: OBSERVED, dash: "solid"};
    plot.line(sorted.map((_, i) => 100 * (i + 0.5) / sorted.length), sorted, {line_color: stroke, line_dash: dash, line_width: 2});
  });
  show(grid, "Flow-duration curve", "colours as above",
    `Flow-duration curves of ${head.name}; half of the time flow exceeds ${names.map((name, i) => `${digits(median(series[i]))} m³/s ${name}`).join(", ")}.`, plot);
}

function drawScatter(grid, head, block, line) {
  const [observed, simulated] = paired(block, [line]);
  if (!observed.length) return;
  const top = 1.05 * [...observed, ...simulated].reduce((a, b) => Math.max(a, b), 0) || 1;
  const plot = figure({x_range: [0, top], y_range: [0, top]});
  plot.xaxis.axis_label = "observed, m³ s⁻¹";
  plot.yaxis.axis_label = `${line.name}, m³ s⁻¹`;
  plot.line([0, top], [0, top], {line_color: "#5f5f5f", line_dash: "dashed"});
  plot.scatter(observed, simulated, {size: 4, fill_color: line.stroke, fill_alpha: 0.4, line_color: null});
  show(grid, `Observed against ${line.name}`, "dashed: equal", `Observed discharge of ${head.name} against that ${line.name}, ${observed.length} steps.`, plot);
}
