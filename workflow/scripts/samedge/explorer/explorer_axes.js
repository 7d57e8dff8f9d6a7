// The y axes of the panels, fitted to what is seen.

/** Return the y axis of the bounds, from 0 to what has settled, and the highest that it cuts off. */
function boundsAxis(run, seen, transient) {
  const { step, ...of } = run.checks;
  const ends = ["largest_over_edge", "negative_curvature_ratio"].flatMap((name) => [name, `${name}_bound`]);
  const late = seen.filter((check) => step[check] >= transient * step[step.length - 1]);
  const highest = (checks) => Math.max(1, ...checks.flatMap((check) => ends.map((name) => of[name][check])));
  const end = 1.2 * highest(late);
  return { range: [0, end], nticks: 5, cut: highest(seen) > end ? highest(seen) : undefined };
}

/**
 * Return from where to where the axis of |λ| goes, and the highest value that it cuts off, if any;
 * null where nothing is to be seen. Linear axes are scaled on the edges and what has settled.
 */
function eigenvalueSpan(run, gdEdge, view, seen, transient) {
  const { step, sam_edge: edge } = run.checks;
  const other = run.meets_another ? [run.checks.effective_curvature] : [];
  const eigenvalue = [...run.checks.eigenvalue, ...other];
  const late = seen.filter((check) => step[check] >= transient * step[step.length - 1]);
  const of = (values, checks) =>
    checks.map((check) => magnitude(values[check])).filter((value) => value > 0);
  const anchors = of(edge, late.length ? late : seen);
  if (view.scale !== "edge") anchors.push(gdEdge);
  const drawn = eigenvalue.flatMap((values) => of(values, seen));
  const settles = run.status === "completed";
  const settled = settles ? eigenvalue.flatMap((values) => of(values, late)) : [];
  if (view.scale === "log") {
    const shown = [...anchors, ...drawn, ...of(edge, seen)];
    const top = 1.4 * Math.max(...shown);
    return shown.length ? { low: Math.max(0.75 * Math.min(...shown), 1e-4 * top), top } : null;
  }
  if (!anchors.length && !settled.length) return null;
  const top = 1.2 * Math.max(...anchors, ...settled);
  const highest = Math.max(0, ...drawn);
  return { low: 0, top, cut: highest > top ? highest : undefined };
}

// The digits at which a decade may have ticks, from many to one.
const FACTORS = [[1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9], [1, 2, 3, 5, 7], [1, 2, 5], [1, 3], [1]];

/** Return a logarithmic y axis from `low` to `top`, with about `most` ticks at round numbers. */
function logAxis(low, top, most) {
  const [first, last] = [Math.log10(low), Math.log10(top)];
  const decades = [];
  for (let power = Math.floor(first); power <= last; power += 1) decades.push(10 ** power);
  const within = (factors, stride = 1) =>
    decades
      .filter((_, place) => place % stride === 0)
      .flatMap((decade) => factors.map((factor) => Number((factor * decade).toPrecision(3))))
      .filter((value) => value >= low && value <= top);
  const sets = FACTORS.map((factors) => within(factors));
  const stride = Math.ceil(decades.length / most);
  const ticks = sets.find((found) => found.length <= most) ?? within([1], stride);
  const axis = { type: "log", range: [first, last] };
  // Where so few round numbers lie within, those of plotly.js are closer together.
  if (ticks.length < 2) return { ...axis, nticks: most };
  return { ...axis, tickvals: ticks, ticktext: ticks.map(tickText) };
}

function tickText(value) {
  if (value >= 1e-3 && value < 1e5) return grouped(value);
  const [factor, power] = value.toExponential().split("e");
  const raised = `10<sup>${Number(power)}</sup>`.replace("-", "−");
  return factor === "1" ? raised : `${factor}×${raised}`;
}

/** Return the y axis of a panel, fitted to the checks that are seen, and what it cuts off. */
function yAxis(panel, run, task, gdEdge, view, transient) {
  const [first, last] = view.range;
  const within = (x) => x >= first && x <= last;
  const seen = [...run.checks.step.keys()].filter((check) => within(view.at[check]));
  if (panel === "alignment") return { range: [-0.02, 1.05], tickvals: [0, 0.5, 1] };
  if (panel === "bounds") return boundsAxis(run, seen, transient);
  if (panel === "minibatches") {
    const values = task.minibatches.flatMap((name) => seen.map((check) => run.checks[name][check]));
    const shown = [1, ...values.filter((value) => value > 0)];
    return logAxis(0.8 * Math.max(Math.min(...shown), 1e-3), 1.25 * Math.min(Math.max(...shown), 1e3), 4);
  }
  if (panel === "loss") {
    const { training_loss: loss } = run.checks;
    const shown = seen.map((check) => loss[check]).filter((value) => value > 0);
    if (!shown.length) return { type: "log" };
    return logAxis(0.85 * Math.min(...shown), 1.18 * Math.max(...shown), 4);
  }
  const span = eigenvalueSpan(run, gdEdge, view, seen, transient);
  if (!span) return {};
  if (view.scale === "log") return logAxis(span.low, span.top, 7);
  return { range: [0, span.top], nticks: 7, cut: span.cut };
}
