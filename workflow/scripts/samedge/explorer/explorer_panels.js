// The panels of a run: plots with one x axis between them.

const PANELS = ["eigenvalues", "bounds", "minibatches", "loss", "alignment"];
const SUBSCRIPTS = ["₁", "₂", "₃", "₄", "₅", "₆", "₇", "₈", "₉"];
const FONT = '-apple-system, "Segoe UI", Roboto, Arial, "Liberation Sans", sans-serif';
const INK = "#1b1f24", GRID = "#e7ebef";
const TOUCH =
  matchMedia("(pointer: coarse)").matches ||
  (navigator.maxTouchPoints > 0 && matchMedia("(max-width: 899px)").matches);
const CONFIG = { displayModeBar: false, responsive: true, doubleClick: false };

const plotOf = (panel) => document.getElementById(`plot-${panel}`);
const lambda = (rank) => `λ${SUBSCRIPTS[rank] ?? rank + 1}`;
const magnitude = (value) => (value === null ? null : Math.abs(value));

/** Return x at every check of a run, in the unit of the axis. */
function xOf(run, task, axis) {
  if (axis === "step") return run.checks.step;
  const { factor } = task.time;
  return run.checks.training_time.map((seconds) => (seconds === null ? null : seconds * factor));
}

function line(name, x, y, style, more = {}) {
  const many = x.length > 80;
  return {
    name,
    x,
    y,
    mode: style.marker ? "lines+markers" : "lines",
    line: { color: style.color, dash: style.dash, width: 1.6 },
    marker: { color: style.color, symbol: style.marker, size: many ? 3.5 : 5.5 },
    hovertemplate: "%{y:.4g}",
    ...more,
  };
}

/** Return what is said of a bound behind the value that it bounds. */
function toBound(bound) {
  return bound === null ? "" : ` to ${printed(bound, 4)}`;
}

/**
 * Return a line with the band that reaches from it to what bounds it, behind it and without a key
 * of its own. Both pass over checks at which they were not measured.
 */
function withBand(trace, bound) {
  const there = [...bound.keys()].filter((check) => bound[check] !== null && trace.y[check] !== null);
  trace.connectgaps = true;
  if (!there.length) return [trace];
  const around = [...there, ...[...there].reverse()];
  const band = {
    name: `${trace.name}, to its bound`,
    x: around.map((check) => trace.x[check]),
    y: around.map((check, place) => (place < there.length ? trace.y : bound)[check]),
    mode: "lines",
    line: { width: 0 },
    fill: "toself",
    fillcolor: `${trace.line.color}38`,
    hoverinfo: "skip",
    band: true,
  };
  // The label under the pointer has both ends of the interval.
  trace.text = bound.map(toBound);
  trace.hovertemplate = "%{y:.4g}%{text}";
  return [band, trace];
}

/** Return the traces of a panel, in the order in which they are drawn and named. */
function tracesOf(panel, run, task, eta, x, styles) {
  const { checks } = run;
  if (panel === "loss") {
    return [line("training loss", x, checks.training_loss, styles.training_loss)];
  }
  if (panel === "bounds") {
    const above = (name) => checks[name].map((value) => (value === null ? null : Math.max(0, value)));
    const bound = { color: INK, dash: "2px,3px" };
    const end = (label, name) =>
      withBand(line(label, x, above(name), styles[name]), above(`${name}_bound`));
    return [
      ...end("λ_max / SAM edge", "largest_over_edge"),
      ...end("−λ_min ρ/‖g‖", "negative_curvature_ratio"),
      line("bound", x, x.map(() => 1), bound, { hoverinfo: "skip", hovertemplate: null }),
    ];
  }
  if (panel === "minibatches") {
    const there = task.minibatches.filter((name) => checks[name].some((value) => value !== null));
    const traces = there.map((name) => {
      const { label, ...style } = styles.minibatches[name];
      return line(label, x, checks[name], style);
    });
    const threshold = { color: INK, dash: "2px,3px" };
    return [...traces, line("threshold", x, x.map(() => 1), threshold, { hoverinfo: "skip", hovertemplate: null })];
  }
  if (panel === "alignment") {
    return [
      line("gradient", x, checks.gradient_alignment, styles.gradient_alignment),
      line("SAM gradient", x, checks.sam_gradient_alignment, styles.sam_gradient_alignment),
    ];
  }
  const ranks = checks.eigenvalue.map((values, rank) => {
    const style = styles.ranks[rank % styles.ranks.length];
    const open = checks.eigenvalue_converged[rank].map((converged) => converged === 0);
    const trace = line(`|${lambda(rank)}|`, x, values.map(magnitude), style);
    // A marker of the colour of its line, open where the residual stayed above the tolerance.
    trace.marker.color = open.map((one) => (one ? "white" : style.color));
    trace.marker.size = open.map((one) => trace.marker.size + (one ? 1.5 : 0));
    trace.marker.opacity = 1;
    trace.marker.line = { color: style.color, width: 1.4 };
    trace.text = open.map((one) => (one ? " (not converged)" : ""));
    trace.hovertemplate = "%{y:.4g}%{text}";
    return trace;
  });
  // Where both edges are one line, the dashes of one fill the gaps of the other.
  const each = checks.learning_rate.map((rate) => (rate ? 2 / rate : null));
  const constant = x.map(() => task.gd_edge[eta]);
  const gd = line("2/η", x, run.scheduled ? each : constant, styles.gd_edge);
  const sam = line(task.edge, x, checks.sam_edge, styles.sam_edge);
  sam.line.width = 2.2;
  if (!run.meets_another) return [...ranks, sam, gd];
  return [...ranks, line("effective curvature", x, checks.effective_curvature, styles.effective), sam, gd];
}

/** Return the layout of a panel; only the last has a label on x, which all share. */
function layoutOf(panel, run, task, eta, view, transient) {
  const last = panel === PANELS[PANELS.length - 1];
  const label = view.x === "step" ? "Optimiser step" : task.time.label;
  const { cut, ...fitted } = yAxis(panel, run, task, task.gd_edge[eta], view, transient);
  const axis = {
    gridcolor: GRID,
    linecolor: "#8c959f",
    showline: true,
    ticks: "outside",
    ticklen: 4,
    tickcolor: "#8c959f",
    zeroline: false,
    automargin: false,
  };
  const layout = {
    margin: { l: 52, r: 10, t: 6, b: last ? 42 : 12 },
    font: { family: FONT, size: 12, color: INK },
    paper_bgcolor: "white",
    plot_bgcolor: "white",
    showlegend: false,
    hovermode: "x unified",
    hoverdistance: -1,
    hoverlabel: { bgcolor: "rgba(255,255,255,0.94)", bordercolor: "#8c959f", font: { size: 12 } },
    // A finger on the panel scrolls the page; the buttons zoom.
    dragmode: TOUCH ? false : "zoom",
    xaxis: {
      ...axis,
      range: [...view.range],
      showticklabels: last,
      title: { text: last ? label : "", standoff: 8, font: { size: 12 } },
      unifiedhovertitle: { text: view.x === "step" ? "step %{x:,}" : `${label}: %{x:.4g}` },
    },
    yaxis: { ...axis, exponentformat: "power", fixedrange: true, ...fitted },
    annotations: [],
  };
  if (cut) {
    layout.annotations.push({
      text: `↑ up to ${printed(cut, 4)}`,
      xref: "paper",
      yref: "paper",
      x: 0.01,
      y: 1,
      xanchor: "left",
      yanchor: "top",
      showarrow: false,
      bgcolor: "rgba(255,255,255,0.85)",
      font: { color: "#57606a" },
    });
  }
  return layout;
}

/** Return the whole range of x of a run, with room for its first and last markers. */
function wholeRange(x) {
  const known = x.filter((value) => value !== null);
  const [first, last] = [Math.min(...known), Math.max(...known)];
  const room = 0.02 * (last - first) || 0.5;
  return [first - room, last + room];
}

/**
 * Draw the panels of a run, which has been measured at least once, and their keys. The view has
 * the names of the axes (`x`, `scale`), x at every check (`at`), and the visible `range` of x.
 */
function drawPanels(run, task, eta, view, styles, transient) {
  const minibatches = document.getElementById("panel-minibatches");
  const appears = minibatches.hidden && task.minibatches.length > 0;
  minibatches.hidden = task.minibatches.length === 0;
  for (const panel of PANELS) {
    const traces = tracesOf(panel, run, task, eta, view.at, styles);
    Plotly.react(plotOf(panel), traces, layoutOf(panel, run, task, eta, view, transient), CONFIG);
    const named = traces.filter((trace) => !trace.band);
    const entries = named.map((trace) => keyEntry(trace));
    if (panel === "eigenvalues" && run.checks.eigenvalue_converged.flat().includes(0)) {
      entries.push(keyEntry({ name: "residual above tolerance", marker: { symbol: "open" } }));
    }
    // What was drawn while it was hidden has no width yet.
    if (panel === "minibatches" && appears) Plotly.Plots.resize(plotOf(panel));
    document.getElementById(`key-${panel}`).replaceChildren(...entries);
    plotOf(panel).setAttribute(
      "aria-label",
      `${named.map((trace) => trace.name).join(", ")} at ${run.checks.step.length} checks; ` +
        "the values are below, at the check that the slider chooses, and in a table",
    );
  }
}

/** Return an entry of a panel's key: a piece of the line with its marker, and its name. */
function keyEntry(trace) {
  const space = "http://www.w3.org/2000/svg";
  const picture = document.createElementNS(space, "svg");
  const add = (tag, attributes) => {
    const shape = document.createElementNS(space, tag);
    for (const [name, value] of Object.entries(attributes)) shape.setAttribute(name, value);
    picture.append(shape);
  };
  for (const [name, value] of Object.entries({ width: 30, height: 12, "aria-hidden": "true" })) {
    picture.setAttribute(name, value);
  }
  if (trace.line) {
    const { color, dash, width } = trace.line;
    const dashes = dash === "solid" ? "none" : dash.replaceAll("px", "");
    add("line", {
      x1: 0,
      x2: 30,
      y1: 6,
      y2: 6,
      stroke: color,
      "stroke-width": width + 0.4,
      "stroke-dasharray": dashes,
    });
  }
  const fill = trace.line?.color;
  const symbol = trace.marker.symbol;
  if (symbol === "circle") add("circle", { cx: 15, cy: 6, r: 3.2, fill });
  if (symbol === "square") add("rect", { x: 12, y: 3, width: 6, height: 6, fill });
  if (symbol === "triangle-up") add("path", { d: "M15 2 L19 9 L11 9 Z", fill });
  if (symbol === "open") {
    add("circle", { cx: 15, cy: 6, r: 3.5, fill: "white", stroke: INK, "stroke-width": 1.4 });
  }
  const entry = element("li", {}, trace.name);
  entry.prepend(picture);
  return entry;
}

/**
 * Tie the panels together, once: `hovered(check)` is told the check under the pointer (null when it
 * leaves), `zoomed(range)` the range that a panel's x axis was given, `reset()` of a double click.
 */
function linkPanels({ hovered, zoomed, reset }) {
  for (const panel of PANELS) {
    const plot = plotOf(panel);
    // A tap is a click without a pointer that hovers.
    for (const name of ["plotly_hover", "plotly_click"]) {
      plot.on(name, (event) => hovered(event.points[0].pointIndex, panel));
    }
    plot.on("plotly_unhover", () => hovered(null, panel));
    plot.on("plotly_doubleclick", reset);
    plot.on("plotly_relayout", (change) => {
      const moved = Object.keys(change).some((key) => key.startsWith("xaxis"));
      if (moved) zoomed([...plot.layout.xaxis.range]);
    });
  }
}

/** Show the values at one x in all panels but that under the pointer, or nowhere for null. */
function hoverPanels(x, origin) {
  for (const panel of PANELS.filter((one) => one !== origin)) {
    if (x === null) Plotly.Fx.unhover(plotOf(panel));
    else Plotly.Fx.hover(plotOf(panel), { xval: x, yval: 0 }, ["xy"], true);
  }
}
