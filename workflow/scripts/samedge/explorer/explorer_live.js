// A page of runs in progress: it renews itself, and is afterwards as it was left.

const IN_PROGRESS = ["training", "starting", "silent", "finished", "diverged", "not started"];
const IDLE = 1500; // milliseconds without a pointer or a key before the page is renewed

/** Return how runs stand that have not ended, by word and number, in the order of the runs. */
function standings(runs) {
  const found = {};
  for (const { standing } of runs) {
    if (standing) found[standing[0]] = (found[standing[0]] ?? 0) + 1;
  }
  return Object.entries(found).map(([word, number]) => [number, word]);
}

/** Return what a cell says of which no run has ended by itself: a word, and how far it is. */
function standingText(runs) {
  const open = runs.filter((one) => one.standing);
  const [word] = open[0].standing;
  if (runs.length > 1) {
    const same = open.filter((one) => one.standing[0] === word).length;
    return [word, `${same} of ${runs.length} seeds`];
  }
  return [word, open[0].end_step ? `at step ${printed(open[0].end_step)}` : ""];
}

/** Return when the page was written, and how often it is renewed; "" for one that is not. */
function renewalText({ as_of, renew }) {
  return `; as of ${as_of}${renew ? `, renewed every ${printed(renew)} s` : ""}`;
}

/** Return where a reader left the page that this one renews, null if it renews none. */
function placeLeft() {
  return history.state?.left ?? null;
}

/** Load the page anew every so many seconds, unless somebody is at it or nobody sees it. */
function renewEvery(seconds, zoomed) {
  const due = Date.now() + 1000 * seconds;
  let touched = 0;
  for (const kind of ["pointerdown", "pointermove", "keydown", "wheel", "input"]) {
    addEventListener(kind, () => (touched = Date.now()), { capture: true, passive: true });
  }
  const look = () => {
    const now = Date.now();
    if (now < due || document.hidden || now - touched < IDLE) return;
    const open = [...document.querySelectorAll("details")].map((one) => one.open);
    const focus = document.activeElement?.id ?? "";
    // In the entry of the history, which survives loading: a file has no other storage everywhere.
    history.replaceState({ left: { x: scrollX, y: scrollY, open, focus, range: zoomed() } }, "");
    clearInterval(timer);
    location.reload();
  };
  const timer = setInterval(look, 200);
}

/** Go back to where the reader was. */
function returnTo({ x, y, open, focus, range }, zoom) {
  document.querySelectorAll("details").forEach((one, number) => (one.open = open[number] ?? false));
  if (focus) document.getElementById(focus)?.focus({ preventScroll: true });
  if (range) zoom(range);
  scrollTo(x, y);
}
