// The map of contexts: a card at the point that is pointed at or walked to, what is selected, and all of it in the address.

(() => {
  const MOST_CORNERS = 60; // of a lasso, as the address has it
  let asked = null; // address of the card that is shown or waited for
  let marked = false; // whether something has been selected on this page
  let held = null; // the point that the keyboard is at: its map, its expert, and its place in pixels of the figure
  const STEPS = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };

  function corners({ range, lassoPoints }) {
    if (range) {
      const [[left, right], [bottom, top]] = [range.x, range.y];
      return [[left, bottom], [right, bottom], [right, top], [left, top]];
    }
    const every = Math.ceil(lassoPoints.x.length / MOST_CORNERS);
    return lassoPoints.x.map((x, at) => [x, lassoPoints.y[at]]).filter((_, at) => at % every === 0);
  }

  // The card of an expert beside a box of the figure, in its pixels; what it says, once it is there.
  async function tell(path, group, expert, colour, box) {
    asked = `${path.replace("{group}", group).replace("{expert}", expert)}?colour=${encodeURIComponent(colour)}`;
    const wanted = asked;
    const answer = await fetch(wanted);
    const found = answer.ok ? await answer.json() : null;
    const graph = document.getElementById("plane");
    if (!found || asked !== wanted || !graph) return null;
    const { left, top } = graph.getBoundingClientRect();
    const place = { left: left + box.right + 8, top: top + box.top, bottom: top + box.bottom };
    window.hovercard.draw({ ...found, note: window.hovercard.noted(found) }, place);
    return found;
  }

  function leave() {
    asked = null;
    window.hovercard.hide();
  }

  // with the keyboard

  // The experts in view, with their places in pixels of the figure.
  function points(figure) {
    const { xaxis, yaxis } = figure._fullLayout;
    const found = [];
    for (const trace of figure._fullData.filter(({ visible }) => visible === true)) {
      trace.customdata.forEach(([expert], at) => {
        const [x, y] = [xaxis.d2p(trace.x[at]), yaxis.d2p(trace.y[at])];
        if (x < 0 || y < 0 || x > xaxis._length || y > yaxis._length) return;
        found.push({ expert, x: x + xaxis._offset, y: y + yaxis._offset });
      });
    }
    return found;
  }

  // The nearest point in a direction, no further aside than ahead; without one, the nearest to the middle.
  function next(figure, step) {
    const { width, height } = figure._fullLayout;
    const from = held ?? { x: width / 2, y: height / 2 };
    let best = null;
    for (const point of points(figure)) {
      const [right, down] = [point.x - from.x, point.y - from.y];
      const ahead = right * step[0] + down * step[1];
      const aside = Math.abs(right * step[1] - down * step[0]);
      if (held && (ahead < 0.5 || aside > ahead)) continue;
      const far = Math.hypot(right, down);
      if (!best || far < best.far) best = { ...point, far };
    }
    return best;
  }

  function letGo() {
    held = null;
    document.querySelector(".plane-cursor")?.remove();
    leave();
  }

  async function hold(map, figure, point) {
    held = { ...point, map };
    let cursor = map.querySelector(".plane-cursor");
    if (!cursor) {
      cursor = document.createElement("div");
      cursor.className = "plane-cursor";
      figure.append(cursor);
    }
    Object.assign(cursor.style, { left: `${point.x}px`, top: `${point.y}px` });
    const colour = new URLSearchParams(window.location.search).get("colour") ?? "label";
    const { group, facts } = map.dataset;
    const box = { right: point.x, top: point.y - 6, bottom: point.y + 6 };
    const found = await tell(facts, group, point.expert, colour, box);
    if (found) document.querySelector(".plane-says").textContent = window.hovercard.line(found);
  }

  document.addEventListener("keydown", (event) => {
    const map = event.target;
    if (!map.matches?.(".plane-map") || event.ctrlKey || event.metaKey || event.altKey) return;
    const figure = map.querySelector(".js-plotly-plot");
    if (!figure?._fullData) return;
    if (held && held.map !== map) letGo(); // it was on a page that has gone
    if (STEPS[event.key]) {
      event.preventDefault();
      const point = next(figure, STEPS[event.key]);
      if (point) hold(map, figure, point);
    } else if (event.key === "Enter" && held) {
      event.preventDefault();
      const address = expertAddress(map.dataset.expert, held.expert);
      letGo();
      visit(address);
    } else if (event.key === "Escape") letGo();
  });
  for (const name of ["focusout", "pointerdown", "wheel"]) {
    document.addEventListener(name, (event) => held && event.target.closest?.(".plane-map") && letGo(), { passive: true });
  }
  window.addEventListener("resize", () => held && letGo());

  window.dash_clientside = window.dash_clientside || {};
  window.dash_clientside.plane = {
    hover(data, facts, colour) {
      if (!data || !facts) {
        if (!held) leave();
        return;
      }
      const [{ customdata, bbox }] = data.points;
      tell(facts.path, facts.group, customdata[0], colour, { right: bbox.x1, top: bbox.y0, bottom: bbox.y1 });
    },
    select(data, facts) {
      if (!facts || (!data?.range && !data?.lassoPoints)) {
        if (data || !marked) return window.dash_clientside.no_update; // a redrawn figure says that nothing is selected
        marked = false;
        return "";
      }
      marked = true;
      const text = corners(data).map(([x, y]) => `${x.toFixed(3)},${y.toFixed(3)}`);
      return `${facts.group}:${text.join(";")}`;
    },
    remember(colour, near, select) {
      const address = new URL(window.location.href);
      for (const [name, value] of Object.entries({ colour: colour === "label" ? "" : colour, near, select })) {
        if (value) address.searchParams.set(name, value);
        else address.searchParams.delete(name);
      }
      window.history.replaceState(window.history.state, "", address);
    },
  };
})();
