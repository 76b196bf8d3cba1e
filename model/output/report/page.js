// The overview of one run: watersheds by NSE, and the distributions of its and the floors' NSE.
"use strict";

const OWN = "#d55e00";
const FLOORS = {persistence: ["#5f5f5f", "dotted"], climatology: ["#0072b2", "dashed"], ridge: ["#009e73", "dotdash"]};

function scoreOf(index, key) {
  return heads[index][key];
}

function colour(nse) {
  if (nse === null) return "#ffffff";
  if (nse < 0) return OWN;
  return run.colours[Math.min(run.colours.length - 1, Math.floor(nse * run.colours.length))];
}

function drawOverview() {
  const best = heads.reduce((a, b) => (b.nse ?? -Infinity) > (a.nse ?? -Infinity) ? b : a);
  drawMap("Watersheds by NSE",
    `Map of ${heads.length} watersheds coloured by NSE; the highest is ${digits(best.nse)} of ${best.name}.`, {
      columns: {nse: i => digits(heads[i].nse), colour: i => colour(heads[i].nse)},
      fill: {fill_color: {field: "colour"}},
      tooltips: [["NSE", "@nse"]],
      key: [swatch(OWN, "below 0"), ...[0, 2, 4, 6, 8].map(i => swatch(run.colours[i], `from ${i / 10}`)),
        ...(heads.some(head => head.nse === null) ? [swatch("#ffffff", "undefined")] : [])],
    });
  drawDistribution("Distribution of NSE over the heads", [
    {name: "Dom-ST", scores: heads.map(head => head.nse), stroke: OWN, dash: "solid", width: 3},
    ...run.floors.map(floor => ({
      name: floor, scores: heads.map(head => head[`${floor}_nse`]), stroke: FLOORS[floor][0], dash: FLOORS[floor][1], width: 2,
    })),
  ]);
}
