// The map of contexts: a card at the point that is pointed at, what is selected, and all of it in the address.

(() => {
  const MOST_CORNERS = 60; // of a lasso, as the address has it
  let asked = null; // address of the card that is shown or waited for
  let marked = false; // whether something has been selected on this page

  function corners({ range, lassoPoints }) {
    if (range) {
      const [[left, right], [bottom, top]] = [range.x, range.y];
      return [[left, bottom], [right, bottom], [right, top], [left, top]];
    }
    const every = Math.ceil(lassoPoints.x.length / MOST_CORNERS);
    return lassoPoints.x.map((x, at) => [x, lassoPoints.y[at]]).filter((_, at) => at % every === 0);
  }

  window.dash_clientside = window.dash_clientside || {};
  window.dash_clientside.plane = {
    async hover(data, facts, colour) {
      if (!data || !facts) {
        asked = null;
        window.hovercard.hide();
        return;
      }
      const [point] = data.points;
      const path = facts.path.replace("{group}", facts.group).replace("{expert}", point.customdata[0]);
      asked = `${path}?colour=${encodeURIComponent(colour)}`;
      const wanted = asked;
      const answer = await fetch(wanted);
      const found = answer.ok ? await answer.json() : null;
      const graph = document.getElementById("plane");
      if (!found || asked !== wanted || !graph) return;
      const { left, top } = graph.getBoundingClientRect();
      const { x1, y0, y1 } = point.bbox;
      const note = [`keys ${found.keys.join(", ")}`, found.confirmed && "confirmed", found.value].filter(Boolean);
      const box = { left: left + x1 + 8, top: top + y0, bottom: top + y1 };
      window.hovercard.draw({ ...found, note: note.join(" · ") }, box);
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
