// The map of a group's experts on the front page (see lattice.py): a click opens an expert, dragging zooms in.

(() => {
  const element = React.createElement;
  const SMALLEST = 8; // keys that the map shows at least
  const MOVED = 4; // pixels from which on a press is a drag
  const MOST_TICKS = 6;

  const within = (value, low, high) => Math.max(low, Math.min(high, value));
  const percent = (share) => `${100 * share}%`;

  function ticks(first, n) {
    let step = 1;
    while (n / step > MOST_TICKS) step *= 2;
    const keys = [];
    for (let key = Math.ceil(first / step) * step; key < first + n; key += step) keys.push(key);
    return keys;
  }

  function ExpertMap({ id, group, keys, address, card, codes, paint, labels, description }) {
    const canvas = React.useRef(null);
    const hint = React.useRef(null); // what is said of the cell in hand at once
    const held = React.useRef(null); // where the pointer was pressed
    const whole = { i: 0, j: 0, n: keys };
    const [view, setView] = React.useState(whole);
    const [map, setMap] = React.useState(null); // its codes and its picture
    const [cell, setCell] = React.useState(null); // the cell in hand
    const [box, setBox] = React.useState(null); // the cells that are dragged over

    React.useEffect(() => {
      let wanted = true;
      unpack(codes).then((read) => wanted && setMap({ codes: read, picture: pictured(read, keys, channels(paint)) }));
      return () => (wanted = false);
    }, [codes, paint.join()]);

    React.useEffect(() => {
      const draw = () => map && drawn(canvas.current, map.picture, view);
      const watched = new ResizeObserver(draw); // which says the size at first, too
      watched.observe(canvas.current);
      return () => watched.disconnect();
    }, [map, view]);

    React.useEffect(() => {
      if (!cell || !map) return;
      const boxes = [hint.current, hint.current.parentElement.querySelector(".map-cell")].map((part) => part.getBoundingClientRect());
      const end = (name, furthest) => furthest(...boxes.map((box) => box[name]));
      const box = { left: end("left", Math.min), top: end("top", Math.min), bottom: end("bottom", Math.max) };
      window.hovercard.point(expertAddress(card, cell.i * keys + cell.j), box);
      return window.hovercard.hide;
    }, [cell?.i, cell?.j, view, map]);

    function pointed(event) {
      const { left, top, width, height } = canvas.current.getBoundingClientRect();
      const place = (first, share) => within(Math.floor(first + share * view.n), 0, keys - 1);
      return { i: place(view.i, (event.clientY - top) / height), j: place(view.j, (event.clientX - left) / width) };
    }

    function show(next) {
      const n = within(next.n, Math.min(SMALLEST, keys), keys);
      setView({ n, i: within(next.i, 0, keys - n), j: within(next.j, 0, keys - n) });
    }

    function open({ i, j }) {
      visit(expertAddress(address, i * keys + j));
    }

    function press(event) {
      if (event.button) return;
      canvas.current.setPointerCapture(event.pointerId);
      held.current = { x: event.clientX, y: event.clientY, cell: pointed(event), to: null };
    }

    function move(event) {
      const at = pointed(event);
      const from = held.current;
      if (!from) return setCell(at);
      if (!from.to && Math.hypot(event.clientX - from.x, event.clientY - from.y) <= MOVED) return;
      from.to = at;
      setCell(null);
      setBox(corners(from.cell, at));
    }

    function release() {
      const from = held.current;
      held.current = null;
      setBox(null);
      if (from?.to) show(corners(from.cell, from.to));
      else if (from) open(from.cell);
    }

    function key(event) {
      const step = window.atlasMoves(event.key);
      const at = cell ?? { i: Math.floor(view.i + view.n / 2), j: Math.floor(view.j + view.n / 2) };
      if (event.key === "Enter") open(at);
      else if (event.key === "Escape") setView(whole);
      else if (step) {
        event.preventDefault();
        const next = { i: within(at.i + step[0], 0, keys - 1), j: within(at.j + step[1], 0, keys - 1) };
        const into = (first, to) => within(first, to + 1 - view.n, to);
        setCell(next);
        show({ n: view.n, i: into(view.i, next.i), j: into(view.j, next.j) });
      }
    }

    const frame = (name, { i, j, n = 1 }) => {
      const style = { top: percent((i - view.i) / view.n), left: percent((j - view.j) / view.n) };
      return element("div", { key: name, className: name, style: { ...style, width: percent(n / view.n), height: percent(n / view.n) } });
    };
    const said = cell && map && `expert ${group}:${cell.i * keys + cell.j} · keys ${cell.i}, ${cell.j} · ${labels[map.codes[cell.i * keys + cell.j] + 1]}`;
    const right = cell && cell.j - view.j > view.n / 2;
    const low = cell && cell.i - view.i > view.n / 2;
    const place = cell && {
      [low ? "bottom" : "top"]: percent(low ? 1 - (cell.i - view.i) / view.n : (cell.i + 1 - view.i) / view.n),
      [right ? "right" : "left"]: percent(right ? 1 - (cell.j + 1 - view.j) / view.n : (cell.j - view.j) / view.n),
    };
    const numbers = (side, first) =>
      element(
        "div",
        { className: `map-${side}`, "aria-hidden": true },
        ...ticks(first, view.n).map((number) => {
          const at = percent((number + 0.5 - first) / view.n);
          return element("span", { key: number, style: side === "rows" ? { top: at } : { left: at } }, number);
        }),
      );
    return element(
      "div",
      { id, className: "expert-map" },
      element("div", { className: "map-set-1", "aria-hidden": true }, "key i of set 1"),
      numbers("rows", view.i),
      element(
        "div",
        { className: "map-cells" },
        element("canvas", {
          ref: canvas,
          tabIndex: 0,
          role: "application",
          "aria-label": description,
          onPointerDown: press,
          onPointerMove: move,
          onPointerUp: release,
          onPointerCancel: () => ((held.current = null), setBox(null)),
          onPointerLeave: () => held.current || setCell(null),
          onBlur: () => setCell(null),
          onKeyDown: key,
        }),
        cell && frame("map-cell", cell),
        box && frame("map-box", box),
        element("div", { ref: hint, className: "map-tooltip", style: place ?? {}, hidden: !said, "aria-live": "polite" }, said),
      ),
      numbers("columns", view.j),
      element("div", { className: "map-set-2", "aria-hidden": true }, "key j of set 2"),
      element(
        "button",
        { type: "button", className: "button map-all", hidden: view.n === keys, onClick: () => setView(whole) },
        "Show all",
      ),
    );
  }

  // The square of cells that two of them span.
  function corners(one, other) {
    const n = Math.max(Math.abs(one.i - other.i), Math.abs(one.j - other.j)) + 1;
    return { n, i: other.i < one.i ? one.i + 1 - n : one.i, j: other.j < one.j ? one.j + 1 - n : one.j };
  }

  function drawn(canvas, picture, { i, j, n }) {
    const { width } = canvas.getBoundingClientRect();
    canvas.width = canvas.height = Math.round(width * (window.devicePixelRatio || 1));
    const board = canvas.getContext("2d");
    board.imageSmoothingEnabled = canvas.width < n; // many cells to a pixel: their mean
    board.imageSmoothingQuality = "high";
    board.drawImage(picture, j, i, n, n, 0, 0, canvas.width, canvas.width);
  }

  (window.workbench ??= {}).ExpertMap = ExpertMap;
})();
