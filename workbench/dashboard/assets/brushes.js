// Histograms to brush (see brush.py): dragging, or moving an end with the keyboard, filters a column of a grid.

(() => {
  const element = React.createElement;
  const MOVED = 3; // pixels from which on a press is a drag
  const SETTLED = 300; // ms after the last key until the filter follows
  const FLOOR = 0.7; // where the logarithmic counts start, so that a single expert still shows
  const STEPS = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -5, PageUp: 5 };
  const ENDS = { Home: 0, End: 1 };

  const within = (share) => Math.max(0, Math.min(share, 1));
  const percent = (share) => `${100 * share}%`;
  const ordered = (one, other) => [Math.min(one, other), Math.max(one, other)];

  // Bars of the counts, one unit wide, in a box one unit high.
  function bars(counts, height) {
    return counts.map((count, bin) => (count ? `M${bin + 0.05} 1V${1 - height(count)}H${bin + 0.95}V1Z` : "")).join("");
  }

  function powers(most) {
    const last = most ? Math.floor(Math.log10(most)) : -1;
    const step = Math.ceil((last + 1) / 3);
    return Array.from({ length: last + 1 }, (_, power) => power).filter((power) => power % step === 0);
  }

  function short(power) {
    return `${10 ** (power % 3)}${["", "k", "M"][Math.floor(power / 3)]}`;
  }

  function Brush({ id, grid, field, chart }) {
    const plot = React.useRef(null);
    const held = React.useRef(null); // the end that stays while the other is dragged
    const waits = React.useRef(null);
    const [drawn, setDrawn] = React.useState(null); // the range in hand, until the chart has it
    React.useEffect(() => setDrawn(null), [chart]);

    const set = drawn ?? chart.range;
    const range = set ?? [0, 1];
    const limited = range[0] > 0 || range[1] < 1;
    const most = Math.max(...chart.all);
    const height = (count) => Math.log(count / FLOOR) / Math.log((1.15 * Math.max(most, 1)) / FLOOR);

    function value(share) {
      const at = chart.low + share * (chart.high - chart.low);
      return Number((chart.log ? 10 ** at : at).toPrecision(4));
    }

    function keep(next) {
      const whole = !next || (next[0] <= 0 && next[1] >= 1);
      setDrawn(whole ? [0, 1] : next);
      window.narrowExperts(grid, field, whole ? null : next.map(value));
    }

    function share(event) {
      const box = plot.current.getBoundingClientRect();
      return within((event.clientX - box.left) / box.width);
    }

    function press(event) {
      if (event.button) return;
      plot.current.setPointerCapture(event.pointerId);
      const end = event.target.dataset.end;
      held.current = { x: event.clientX, stays: end ? range[1 - Number(end)] : share(event), range: null };
    }

    function move(event) {
      if (!held.current) {
        const bin = Math.min(Math.floor(share(event) * chart.all.length), chart.all.length - 1);
        const [from, to] = [bin, bin + 1].map((edge) => value(edge / chart.all.length).toPrecision(3));
        plot.current.title = `${from} to ${to}: ${chart.all[bin].toLocaleString("en")} experts, ${chart.passed[bin].toLocaleString("en")} listed`;
      } else if (held.current.range || Math.abs(event.clientX - held.current.x) > MOVED) {
        held.current.range = ordered(held.current.stays, share(event));
        setDrawn(held.current.range);
      }
    }

    function release() {
      if (held.current?.range) keep(held.current.range);
      held.current = null;
    }

    function cancel() {
      held.current = null;
      setDrawn(null);
    }

    function key(event, end) {
      if (event.key === "Escape" && limited) keep(null);
      if (!(event.key in STEPS) && !(event.key in ENDS)) return;
      event.preventDefault();
      const [low, high] = end ? [range[0], 1] : [0, range[1]];
      const to = ENDS[event.key] ?? range[end] + STEPS[event.key] / chart.all.length;
      const next = range.with(end, Math.max(low, Math.min(to, high)));
      setDrawn(next);
      clearTimeout(waits.current);
      waits.current = setTimeout(() => keep(next), SETTLED);
    }

    const handle = (end) =>
      element("span", {
        key: end,
        className: "brush-end",
        style: { left: percent(range[end]) },
        role: "slider",
        tabIndex: 0,
        "data-end": end,
        "aria-label": `${chart.title}, ${end ? "to" : "from"}`,
        "aria-valuemin": value(0),
        "aria-valuemax": value(1),
        "aria-valuenow": value(range[end]),
        onKeyDown: (event) => key(event, end),
      });
    const ticks = chart.ticks.map(([at, text]) => element("span", { key: text, style: { left: percent(at) } }, text));
    const lines = powers(most).map((power) =>
      element("span", { key: power, style: { bottom: percent(height(10 ** power)) } }, short(power)),
    );
    const shape = (name, counts) => element("path", { className: name, d: bars(counts, height) });
    const events = { onPointerDown: press, onPointerMove: move, onPointerUp: release, onPointerCancel: cancel };
    return element(
      "div",
      { id, className: "brush" },
      element(
        "div",
        { ref: plot, className: limited ? "brush-plot brushed" : "brush-plot", ...events, onDoubleClick: () => keep(null) },
        element("div", { className: "brush-counts", "aria-hidden": true }, ...lines),
        element(
          "svg",
          { className: "brush-bars", viewBox: `0 0 ${chart.all.length} 1`, preserveAspectRatio: "none", "aria-hidden": true },
          shape("every", chart.all),
          shape("listed", chart.passed),
        ),
        element("div", { className: "brush-range", style: { left: percent(range[0]), right: percent(1 - range[1]) } }),
        handle(0),
        handle(1),
      ),
      element("div", { className: "brush-ticks", "aria-hidden": true }, ...ticks),
      element("div", { className: "brush-title" }, chart.title),
    );
  }

  (window.workbench ??= {}).Brush = Brush;
})();
