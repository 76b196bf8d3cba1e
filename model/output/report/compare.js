// The page of several runs: which one wins where, distributions, and panels with all hydrographs.
"use strict";

const RUNS = run.runs.map((one, i) => ({...one, key: `run${i}`}));
const FLOOR_DASHES = {persistence: "dotted", climatology: "dashed", ridge: "dotdash"};
// A cell of the table is [text, its interval, whether it counts].
const QUIET = "#5f5f5f";
const MARGINS = [[0.02, 0.35], [0.1, 0.65], [Infinity, 1]]; // of NSE, with the strength of the colour
let measure = "nse";

function scoreOf(index, key) {
  return heads[index].values[measure][key];
}

function mixed(colour, strength) {
  const parts = [1, 3, 5].map(at => parseInt(colour.slice(at, at + 2), 16));
  return `#${parts.map(part => Math.round(255 + strength * (part - 255)).toString(16).padStart(2, "0")).join("")}`;
}

function winColour({best, margin}) {
  return best === null ? "#ffffff" : mixed(RUNS[best].stroke, MARGINS.find(([below]) => margin < below)[1]);
}

function winText({best, margin, clear}) {
  return best === null ? "none" : `${RUNS[best].name} by ${digits(margin, 2)}${clear ? "" : ", 0 is within the interval"}`;
}

function drawOverview() {
  const wins = RUNS.map((one, i) => `${one.name} on ${heads.filter(head => head.best === i).length}`).join(", ");
  const clear = heads.filter(head => head.clear).length;
  const hatched = "background: repeating-linear-gradient(45deg, #1a1a1a 0 1px, #fff 1px 5px); border-width: 0; width: .9rem; height: .9rem";
  drawMap("Watersheds by the run with the highest NSE",
    `Map of ${heads.length} watersheds by the run with the highest NSE: ${wins}; on ${clear} the interval of the difference excludes 0.`, {
      columns: {
        win: i => winText(heads[i]), colour: i => winColour(heads[i]), hatch: i => heads[i].clear || heads[i].best === null ? "blank" : "right_diagonal_line",
        nse: i => heads[i].cells.nse.slice(0, RUNS.length).map(([text]) => text).join(", "),
      },
      fill: {fill_color: {field: "colour"}, hatch_pattern: {field: "hatch"}, hatch_color: "#1a1a1a", hatch_alpha: 0.6, hatch_weight: 0.5, hatch_scale: 8},
      tooltips: [["highest", "@win"], ["NSE", "@nse"]],
      key: [
        ...RUNS.flatMap(one => MARGINS.map(([below, strength], i) => swatch(mixed(one.stroke, strength),
          i === 0 ? `${one.name} by less than ${below}` : below === Infinity ? "more" : `less than ${below}`))),
        swatch("transparent", "0 is within the interval", hatched),
        ...(heads.some(head => head.best === null) ? [swatch("#ffffff", "none is ahead")] : [])],
    });
  drawDistribution("Distribution of NSE over the heads", [
    ...RUNS.map((one, i) => ({...one, scores: heads.map(head => head.values.nse[i]), width: 3})),
    ...Object.entries(run.floors).map(([floor, name]) => ({
      name, scores: heads.map(head => head.floors[floor]), stroke: QUIET, dash: FLOOR_DASHES[floor], width: 1.5,
    })),
  ]);
  const select = document.getElementById("measure");
  select.addEventListener("change", () => showMeasure(select.value));
  select.value = measure;
}

// Show another measure in the table.
function showMeasure(name) {
  measure = name;
  const table = document.getElementById("scores");
  for (const heading of table.querySelectorAll(".measure")) heading.textContent = run.measures[name];
  for (const heading of table.tHead.querySelectorAll("th")) heading.ariaSort = "none";
  for (const row of table.tBodies[0].rows) fill(row, heads[row.dataset.head].cells[name]);
  fill(table.tFoot.rows[0], run.medians[name]);
}

function fill(row, cells) {
  cells.forEach(([text, within, strong], i) => {
    const place = row.cells[i + 1];
    place.classList.toggle("strong", strong);
    place.replaceChildren(text, ...(within ? [" ", make("small", {}, within)] : []));
  });
}

async function drawPanel(details) {
  const place = details.querySelector(".panel");
  if (place.childElementCount) return;
  const index = Number(details.dataset.head), head = heads[index];
  place.append(scoreTable(head));
  const block = await unpack(document.getElementById(`block-${index}`).textContent);
  const zoom = drawHydrograph(place, head, block, RUNS);
  const names = ["observed, m³ s⁻¹", ...RUNS.map(one => `${one.name}, m³ s⁻¹`)];
  if (block.floods.length) {
    place.append(floodTable(block, zoom, names, flood => [flood.observed, ...flood.simulated].map(value => digits(value))));
  }
  const grid = make("div", {class: "grid"});
  place.append(grid);
  drawDuration(grid, head, block, RUNS);
  RUNS.forEach(one => drawScatter(grid, head, block, one));
}

function scoreTable(head) {
  const rows = Object.entries(run.measures).map(([key, name]) => make("tr", {}, make("th", {scope: "row"}, name),
    ...head.cells[key].slice(0, RUNS.length).map(([text, , strong]) => make("td", {class: strong ? "strong" : ""}, text))));
  const names = make("tr", {}, ...["measure", ...RUNS.map(one => one.name)].map(name => make("th", {scope: "col"}, name)));
  return make("div", {class: "wide"}, make("table", {}, make("thead", {}, names), make("tbody", {}, ...rows)));
}
