// The page: what is chosen, kept in the address; the controls; the words about a run.

const DATA = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const AXES = ["step", "time"], SCALES = ["log", "linear", "edge"];
const STATISTICS = Object.keys(DATA.statistics);
const chosen = { task: 0, eta: 0, rho: 0, seed: 0, x: "step", scale: "log", map: STATISTICS[0] };
let range = null, hoveredCheck = null, linked = false;

const task = () => DATA.tasks[chosen.task];
const run = () => task().runs[chosen.eta][chosen.rho][chosen.seed];
const algorithm = () => task().algorithms[Number(task().rho[chosen.rho]) === 0 ? 0 : 1];

/** Choose the run of a task to begin with: completed, or else begun, SAM, nearest its edge. */
function chooseBest() {
  const far = (value) => (value === null ? Infinity : Math.abs(Math.log(value)));
  let best = null;
  task().runs.forEach((row, eta) =>
    row.forEach((seeds, rho) =>
      seeds.forEach((one, seed) => {
        const sam = Number(task().rho[rho]) !== 0;
        const ended = one.status === "completed";
        const begun = one.standing && one.measured > 0;
        const rank = ended ? 0 : begun ? 1 : 2;
        const order = [rank, sam ? 0 : 1, seed, far(one.statistics.edge_ratio)];
        const place = order.findIndex((value, number) => best && value !== best.order[number]);
        if (best && !(order[place] < best.order[place])) return;
        best = { order, eta, rho, seed };
      }),
    ),
  );
  Object.assign(chosen, { eta: best.eta, rho: best.rho, seed: best.seed });
}

/** Choose a cell of the map: the seed stays if its run completed, else the first that did. */
function chooseCell(number, eta, rho) {
  const runs = DATA.tasks[number].runs[eta][rho];
  const same = number === chosen.task ? chosen.seed : 0;
  const completed = runs.findIndex((one) => one.status === "completed");
  const seed = runs[same].status === "completed" || completed < 0 ? same : completed;
  Object.assign(chosen, { task: number, eta, rho, seed });
  changed();
  if (byId("run-title").getBoundingClientRect().top > innerHeight - 120) {
    byId("run-title").scrollIntoView({ block: "start" });
  }
}

/** Choose what the address asks for; return what of it this experiment does not have. */
function readAddress() {
  const asked = new URLSearchParams(location.hash.slice(1));
  const problems = [];
  const find = (key, known, found) => {
    const text = asked.get(key);
    if (text === null) return;
    const place = known.map(String).indexOf(text);
    if (place < 0) problems.push(`${key} = ${text}`);
    else found(place);
  };
  const before = chosen.task;
  find("task", DATA.tasks.map((one) => one.name), (place) => (chosen.task = place));
  if (chosen.task !== before) chooseBest();
  for (const key of ["eta", "rho", "seed"]) {
    find(key, task()[key], (place) => (chosen[key] = place));
  }
  find("x", AXES, (place) => (chosen.x = AXES[place]));
  find("scale", SCALES, (place) => (chosen.scale = SCALES[place]));
  find("map", STATISTICS, (place) => (chosen.map = STATISTICS[place]));
  return problems;
}

function address() {
  const { name, eta, rho, seed } = task();
  const parts = { task: name, eta: eta[chosen.eta], rho: rho[chosen.rho], seed: seed[chosen.seed] };
  const { x, scale, map } = chosen;
  return `#${new URLSearchParams({ ...parts, x, scale, map })}`;
}

/** Show what is chosen, and keep it in the address. */
function changed() {
  if (location.hash !== address()) location.hash = address();
  render();
}

function render(problems = []) {
  hoveredCheck = null;
  fillSelect("eta", task().eta, chosen.eta);
  fillSelect("rho", task().rho, chosen.rho);
  fillSelect("seed", task().seed, chosen.seed);
  byId("task").selectedIndex = chosen.task;
  for (const name of ["x", "scale"]) {
    document.querySelector(`[name=${name}][value=${chosen[name]}]`).checked = true;
  }
  byId("statistic").value = chosen.map;
  byId("definition").textContent = DATA.statistics[chosen.map].definition;
  paintMaps(DATA.tasks, chosen.map, DATA.statistics[chosen.map].label);
  markMaps(chosen);
  describeTask();
  describeRun(problems);
  const measured = run().checks.step.length;
  byId("panels").hidden = byId("tools").hidden = !measured;
  if (!measured) return;
  byId("check").max = measured - 1;
  resetZoom();
  showCheck(measured - 1);
  fillChecks();
}

function draw() {
  const view = { x: chosen.x, scale: chosen.scale, at: xOf(run(), task(), chosen.x), range };
  drawPanels(run(), task(), chosen.eta, view, DATA.styles, DATA.transient);
  // Only what has been drawn can be listened to.
  if (!linked) linkPanels({ hovered: hover, zoomed: zoom, reset: resetZoom });
  linked = true;
}

function fillSelect(id, values, place) {
  byId(id).replaceChildren(...values.map((value) => element("option", {}, String(value))));
  byId(id).selectedIndex = place;
}

/** Fill a list of descriptions with pairs of a name and a text or an element. */
function fillPairs(id, pairs, wrapped) {
  const items = pairs.map(([name, text]) => [element("dt", {}, name), element("dd", {}, text)]);
  const parts = wrapped ? items.map((pair) => element("div", {}, ...pair)) : items.flat();
  byId(id).replaceChildren(...parts);
}

function describeTask() {
  byId("about-title").textContent = `The task ${task().name}`;
  byId("stand-in").hidden = !task().stand_in;
  byId("stand-in").textContent = `Stand-in data: ${task().stand_in}`;
  const tests = Object.entries(task().tests).map(([name, meaning]) => [
    "Test metric",
    `${spaced(name)}: ${meaning}`,
  ]);
  fillPairs("facts", [...task().facts, ...tests]);
  fillPairs("settings", task().settings);
}

const spaced = (name) => name.replaceAll("_", " ");

function describeRun(problems) {
  const { ending, status, standing, statistics, tests, end_step: step, measured } = run();
  const [eta, rho, seed] = ["eta", "rho", "seed"].map((key) => task()[key][chosen[key]]);
  const name = `${task().name}: ${algorithm()}, η = ${eta}, ρ = ${rho}, seed ${seed}`;
  byId("run-title").textContent = name;
  const checks = run().checks.step.length;
  const completed = status === "completed";
  const lacks = problems.length ? `The link asks for ${problems.join(", ")}: not here. ` : "";
  const ended = completed ? `Completed after ${printed(step)} steps, measured` : "Measured";
  const here = measured > checks ? `, ${checks} of them shown` : "";
  const soFar = standing ? " so far" : "";
  byId("outcome").textContent = `${lacks}${ended} at ${measured} checks${soFar}${here}.`;
  byId("ended").hidden = completed;
  byId("ended").classList.toggle("bad", !standing || !IN_PROGRESS.includes(standing[0]));
  const before = checks ? "What was measured before is below." : "Nothing was measured before.";
  const since = checks ? "What was measured so far is below." : "Nothing was measured yet.";
  byId("ended").textContent = standing
    ? `${standing[1]} ${since}`
    : status === "missing"
      ? "This run is missing from the cube: it was not trained, or its file could not be used."
      : `This run ${ending}. ${before}`;
  const cards = [
    ...STATISTICS.map((statistic) => [
      DATA.statistics[statistic].label,
      printedStatistic(statistic, statistics[statistic]),
    ]),
    ...Object.entries(tests).map(([metric, value]) => [spaced(metric), printed(value)]),
  ];
  byId("summary").hidden = !completed;
  fillPairs("summary", cards, true);
}

/** Show the values at a check of the run, in print. */
function showCheck(number) {
  const { checks } = run();
  const at = (name) => printed(checks[name][number], 4);
  const interval = (name) => at(name) + toBound(checks[`${name}_bound`][number]);
  const where = `Check ${number + 1} of ${checks.step.length}: step ${at("step")}`;
  byId("check").value = number;
  byId("check").setAttribute("aria-valuetext", where);
  byId("check-label").textContent = where;
  const edge = checks.sam_edge[number];
  const ranks = checks.eigenvalue.map((values, rank) => {
    const text = element("span", {}, printed(values[number], 4));
    if (checks.eigenvalue_converged[rank][number] === 0) {
      text.append(" ", element("small", {}, "not converged"));
    }
    return [lambda(rank), text];
  });
  const first = checks.eigenvalue[0]?.[number] ?? null;
  const own = first === null || edge === null ? null : Math.abs(first) / edge;
  // Files of before have no ratio.
  const ratio = checks.edge_ratio[number] ?? own;
  const other = run().meets_another;
  const rate = checks.learning_rate[number];
  const gd = run().scheduled && rate ? 2 / rate : task().gd_edge[chosen.eta];
  fillPairs(
    "readout",
    [
      ["training time", `${at("training_time")} s`],
      ...ranks,
      ...(other ? [["effective curvature", at("effective_curvature")]] : []),
      [task().edge, printed(edge, 4)],
      ["2/η", printed(gd, 4)],
      [other ? "effective curvature / edge" : "|λ₁| / edge", printed(ratio, 4)],
      ["−λ_min ρ/‖g‖", interval("negative_curvature_ratio")],
      ["training loss", at("training_loss")],
      ["gradient alignment", at("gradient_alignment")],
      ["SAM gradient alignment", at("sam_gradient_alignment")],
    ],
    true,
  );
}

/** Fill the table of every check, if it is open: that of a long run is large. */
function fillChecks() {
  if (!byId("all-checks").open) return;
  const { checks } = run();
  const single = Object.keys(checks).filter((name) => !name.startsWith("eigenvalue"));
  const names = [
    ...single.map(spaced),
    ...checks.eigenvalue.flatMap((_, rank) => [lambda(rank), `residual of ${lambda(rank)}`]),
  ];
  const rows = checks.step.map((_, number) => {
    const row = element("tr");
    for (const name of single) row.append(element("td", {}, printed(checks[name][number], 4)));
    checks.eigenvalue.forEach((values, rank) => {
      const solved = checks.eigenvalue_converged[rank][number] !== 0;
      const open = solved ? {} : { class: "open", title: "not converged" };
      row.append(
        element("td", open, printed(values[number], 4)),
        element("td", open, printed(checks.eigenvalue_residual[rank][number], 2)),
      );
    });
    return row;
  });
  const head = element("tr", {}, ...names.map((name) => element("th", { scope: "col" }, name)));
  byId("checks").replaceChildren(element("thead", {}, head), element("tbody", {}, ...rows));
}

/** Follow the pointer, or the slider (no `panel`): the same check in all panels and in print. */
function hover(number, panel) {
  if (number === hoveredCheck) return;
  hoveredCheck = number;
  if (number !== null) showCheck(number);
  hoverPanels(number === null ? null : xOf(run(), task(), chosen.x)[number], panel);
}

/** Show a range of x in all panels. */
function zoom(wanted) {
  range = wanted;
  draw();
}

/** Return the range that is zoomed to, null if all is seen. */
function zoomed() {
  if (!range || !run().checks.step.length) return null;
  const whole = wholeRange(xOf(run(), task(), chosen.x));
  return range[0] === whole[0] && range[1] === whole[1] ? null : range;
}

/** Scale the visible range about its middle, and move it by a share of itself. */
function zoomBy(factor, shift) {
  const [middle, half] = [(range[0] + range[1]) / 2, (range[1] - range[0]) / 2];
  const center = middle + 2 * shift * half;
  zoom([center - factor * half, center + factor * half]);
}

function resetZoom() {
  zoom(wholeRange(xOf(run(), task(), chosen.x)));
}

function begin() {
  const runs = DATA.tasks.flatMap((one) => one.runs.flat(2));
  const ended = runs.filter((one) => !one.standing);
  const count = (status) => ended.filter((one) => one.status === status).length;
  const counts = ["completed", "diverged", "missing"].map((status) => [count(status), status]);
  byId("overview").textContent =
    `${runs.length} run${runs.length === 1 ? "" : "s"}: ` +
    [...standings(runs), ...counts].filter(([number]) => number).map((pair) => pair.join(" ")).join(", ") +
    (DATA.live ? renewalText(DATA.live) : "");
  fillSelect("task", DATA.tasks.map((one) => one.name), 0);
  for (const [name, { label }] of Object.entries(DATA.statistics)) {
    byId("statistic").append(element("option", { value: name }, label));
  }
  fillPairs("definitions", DATA.definitions);
  buildMaps(DATA.tasks, chooseCell);
  byId("zoom-hint").hidden = TOUCH;

  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  byId("task").addEventListener("change", (event) => {
    chosen.task = event.target.selectedIndex;
    chooseBest();
    changed();
  });
  for (const key of ["eta", "rho", "seed"]) {
    byId(key).addEventListener("change", (event) => {
      chosen[key] = event.target.selectedIndex;
      changed();
    });
  }
  for (const input of document.querySelectorAll("[type=radio]")) {
    input.addEventListener("change", () => {
      chosen[input.name] = input.value;
      changed();
    });
  }
  byId("statistic").addEventListener("change", (event) => {
    chosen.map = event.target.value;
    changed();
  });
  byId("check").addEventListener("input", (event) => hover(Number(event.target.value)));
  byId("check").addEventListener("blur", () => hover(null));
  byId("all-checks").addEventListener("toggle", fillChecks);
  byId("zoom-in").addEventListener("click", () => zoomBy(0.5, 0));
  byId("zoom-out").addEventListener("click", () => zoomBy(2, 0));
  byId("earlier").addEventListener("click", () => zoomBy(1, -0.25));
  byId("later").addEventListener("click", () => zoomBy(1, 0.25));
  byId("reset").addEventListener("click", resetZoom);
  byId("skip").addEventListener("click", (event) => {
    event.preventDefault(); // the address is the choice of a run
    byId("run").focus();
  });

  const left = placeLeft();
  chooseBest();
  render(readAddress());
  // So that the way back from the first choice leads here.
  location.replace(address());
  addEventListener("hashchange", () => {
    if (location.hash !== address()) render(readAddress());
  });
  if (left) returnTo(left, zoom);
  if (DATA.live?.renew) {
    history.scrollRestoration = "manual";
    renewEvery(DATA.live.renew, zoomed);
  }
}

begin();
