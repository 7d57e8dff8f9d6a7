// The edge map: a table per task whose cells show a statistic in colour and in print.

const WHITE = "#f7f7f7", BLUE = "#0173b2", VERMILION = "#d55e00";
const SKY = "#56b4e9", GREEN = "#5bc2a0";

// What colours a number. `at` places it from -1 to 1; -1 to 0 goes from `low` to white, 0 to 1 on
// to `high`. `ends` are the words under the bar of colours.
const PALETTES = {
  edge_ratio: {
    low: BLUE,
    high: VERMILION,
    at: (value) => Math.log2(value) / 2,
    ends: ["¼ and less", "1: at the edge", "4 and more"],
  },
  share_within_25: {
    high: GREEN,
    at: (value) => value,
    ends: ["0", "", "1"],
  },
  first_at_edge: {
    high: SKY,
    // Most runs are there soon: the root tells their times apart.
    at: (value, range) => 1 - Math.sqrt(value / range.steps),
    ends: ["at the end, or never", "", "at the start"],
  },
  final_loss: {
    high: GREEN,
    at: (value, range) => Math.log(range.top / value) / Math.log(range.top / range.bottom),
    ends: ["highest of the task", "", "lowest"],
  },
  negative_curvature: {
    low: BLUE,
    high: VERMILION,
    at: (value) => value - 1,
    ends: ["0 and less", "1: at the bound", "2 and more"],
  },
};

/** Return an element with attributes and children; text becomes text, never markup. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Return a number in print, to so many significant digits. */
function printed(value, digits = 3) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "string") return value;
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e7) return grouped(value);
  if (size >= 1e7 || size < 1e-4) {
    return value.toExponential(digits - 1).replaceAll("-", "−").replace("e+", "e");
  }
  if (size >= 10 ** (digits - 1)) return grouped(Math.round(value));
  return value.toPrecision(digits).replace("-", "−");
}

/** Return a statistic in print: ratios and shares to two decimals, to be compared at a glance. */
function printedStatistic(name, value) {
  const fixed = ["edge_ratio", "share_within_25", "negative_curvature"].includes(name) && typeof value === "number";
  return fixed ? value.toFixed(2) : printed(value);
}

function grouped(value) {
  return value.toLocaleString("en-US").replace("-", "−");
}

/** Return the colour between two of them, as numbers from 0 to 255. */
function mixed(from, to, share) {
  const parts = (color) => [1, 3, 5].map((place) => parseInt(color.slice(place, place + 2), 16));
  const [first, second] = [parts(from), parts(to)];
  return first.map((part, place) => Math.round(part + share * (second[place] - part)));
}

function colored(palette, place) {
  const bounded = Math.max(-1, Math.min(1, place));
  return mixed(WHITE, bounded < 0 ? palette.low ?? WHITE : palette.high, Math.abs(bounded));
}

/** Return black or white, whichever stands out more from a colour (WCAG's relative luminance). */
function inkOn(color) {
  const [red, green, blue] = color.map((part) => {
    const share = part / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  const luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  return (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) ? "#000000" : "#ffffff";
}

const css = (color) => `rgb(${color.join(", ")})`;

/** Return what places a task's numbers on a palette: its longest run, its extreme values. */
function rangeOf(task, statistic) {
  const numbers = task.map[statistic].flat().filter((value) => value > 0);
  return {
    steps: Math.max(1, ...task.runs.flat(2).map((run) => run.end_step ?? 0)),
    top: 1.0001 * Math.max(...numbers),
    bottom: Math.min(...numbers),
  };
}

/** Return what a cell says: its value or how its runs ended, and a note on its seeds. */
function cellText(task, statistic, eta, rho) {
  const runs = task.runs[eta][rho];
  const count = (status) => runs.filter((run) => !run.standing && run.status === status).length;
  const [diverged, missing] = [count("diverged"), count("missing")];
  const open = standings(runs);
  if (open.length && !count("completed")) return standingText(runs);
  const several = runs.length > 1;
  if (diverged + missing === runs.length) {
    const word = diverged ? "diverged" : "missing";
    if (!several) return [word, diverged ? `at step ${printed(runs[0].end_step)}` : ""];
    if (diverged && missing) return [word, `${diverged} of ${runs.length}, ${missing} missing`];
    return [word, `all ${runs.length} seeds`];
  }
  const notes = open.map((pair) => pair.join(" "));
  if (diverged) notes.push(`${diverged} of ${runs.length} diverged`);
  if (missing) notes.push(`${missing}${diverged ? "" : ` of ${runs.length}`} missing`);
  const value = task.map[statistic][eta][rho];
  if (value === null) return ["too few checks", notes.join(", ")];
  return [printedStatistic(statistic, value), notes.join(", ")];
}

/** Build the table of every task, in the order of the data; `choose(task, eta, rho)` is a click. */
function buildMaps(tasks, choose) {
  const maps = tasks.map((task, number) => {
    const head = element("tr", {}, element("th", { scope: "col" }, "η \\ ρ"));
    for (const rho of task.rho) head.append(element("th", { scope: "col" }, `ρ = ${rho}`));
    const body = element("tbody");
    task.eta.forEach((eta, row) => {
      const line = element("tr", {}, element("th", { scope: "row" }, `η = ${eta}`));
      task.rho.forEach((_, column) => {
        const cell = element("button", {
          type: "button",
          class: "cell",
          "data-eta": row,
          "data-rho": column,
        });
        cell.addEventListener("click", () => choose(number, row, column));
        line.append(element("td", {}, cell));
      });
      body.append(line);
    });
    const notes = task.seed.length > 1 ? [`${task.seed.length} seeds`] : [];
    if (task.stand_in) notes.push("stand-in data");
    const table = element(
      "table",
      { "aria-describedby": "map-hint" },
      element("caption", {}, task.name, element("small", {}, notes.join(", "))),
      element("thead", {}, head),
      body,
    );
    // Columns that are too many for the page, at a width that takes "diverged", scroll in a frame.
    table.style.minWidth = `${80 + 60 * task.rho.length}px`;
    table.addEventListener("keydown", (event) => moveInMap(event, table));
    return element("div", { class: "map" }, element("div", { class: "scroller" }, table));
  });
  document.getElementById("maps").replaceChildren(...maps);
}

/** Move between cells by arrow keys, Home and End. */
function moveInMap(event, table) {
  const rows = [...table.tBodies[0].rows].map((row) => [...row.querySelectorAll("button")]);
  const cell = event.target.closest("button");
  if (!cell) return;
  let [row, column] = [Number(cell.dataset.eta), Number(cell.dataset.rho)];
  if (event.key === "ArrowUp") row -= 1;
  else if (event.key === "ArrowDown") row += 1;
  else if (event.key === "ArrowLeft") column -= 1;
  else if (event.key === "ArrowRight") column += 1;
  else if (event.key === "Home") column = 0;
  else if (event.key === "End") column = rows[0].length - 1;
  else return;
  event.preventDefault();
  const next = rows[row]?.[column];
  if (!next) return;
  // One stop of the Tab key per table: the cell that was visited last.
  for (const other of rows.flat()) other.tabIndex = other === next ? 0 : -1;
  next.focus();
}

/** Write and colour every cell for a statistic, and the bar that explains the colours. */
function paintMaps(tasks, statistic, label) {
  const palette = PALETTES[statistic];
  document.querySelectorAll("#maps .map").forEach((map, number) => {
    const task = tasks[number];
    const range = rangeOf(task, statistic);
    for (const cell of map.querySelectorAll("button")) {
      const [eta, rho] = [Number(cell.dataset.eta), Number(cell.dataset.rho)];
      const value = task.map[statistic][eta][rho];
      const [text, note] = cellText(task, statistic, eta, rho);
      const place = typeof value === "number" ? palette.at(value, range) : 0;
      const known = value !== null;
      const color = colored(palette, Number.isFinite(place) ? place : 0);
      cell.classList.toggle("none", !known);
      cell.style.background = known ? css(color) : "white";
      cell.style.color = known ? inkOn(color) : "#000000";
      cell.replaceChildren(
        element("span", {}, text),
        ...(note ? [element("small", {}, note)] : []),
      );
      const where = `${task.name}, η = ${task.eta[eta]}, ρ = ${task.rho[rho]}`;
      const what = known ? `${label} ${text}` : text;
      cell.setAttribute("aria-label", `${where}: ${what}${note ? `, ${note}` : ""}`);
    }
  });
  const stops = [-1, -0.5, 0, 0.5, 1].filter((place) => palette.low || place >= 0);
  const bar = document.getElementById("scale-bar");
  bar.style.background = `linear-gradient(to right, ${stops
    .map((place) => css(colored(palette, place)))
    .join(", ")})`;
  [...bar.children].forEach((end, number) => {
    end.textContent = palette.ends[number];
    const place = [stops[0], 0, 1][number];
    end.style.color = inkOn(colored(palette, place));
  });
}

/** Mark the chosen run's cell, and the task whose map a narrow screen shows. */
function markMaps(chosen) {
  document.querySelectorAll("#maps .map").forEach((map, number) => {
    const here = number === chosen.task;
    map.classList.toggle("chosen", here);
    for (const cell of map.querySelectorAll("button")) {
      const [eta, rho] = [Number(cell.dataset.eta), Number(cell.dataset.rho)];
      const current = here && eta === chosen.eta && rho === chosen.rho;
      if (current) cell.setAttribute("aria-current", "true");
      else cell.removeAttribute("aria-current");
      cell.tabIndex = current || (!here && eta === 0 && rho === 0) ? 0 : -1;
    }
  });
}
