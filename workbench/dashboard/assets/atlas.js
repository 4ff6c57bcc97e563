// The atlas: a group's lattice of experts on a canvas, with bars of its keys beside it. Wheel, drag, buttons and keys
// zoom and move; what is zoomed, coloured and selected is in the address. Texts go in by textContent alone.

(() => {
  const SMALLEST = 8; // keys that a map shows at least
  const PATIENCE = 120; // ms on a cell before its facts are asked for
  const SETTLED = 300; // ms without a change before the address and the list follow
  const LEAP = 16; // keys that a page key moves by
  const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  const LEAPS = { PageUp: [-LEAP, 0], PageDown: [LEAP, 0], Home: [0, -LEAP], End: [0, LEAP] };
  const KEPT = ["colour", "zoom", "select"];
  let maps = []; // those on the page
  let facts = {}; // of the page
  let colour = "label";
  let ends = [1, 1]; // of the bars
  const told = new Map(); // address -> promise of what it answers

  const fill = (path, fields) => path.replace(/{(\w+)}/g, (_, name) => encodeURIComponent(fields[name]));
  const within = (value, low, high) => Math.max(low, Math.min(high, value));

  function ask(address) {
    if (!told.has(address)) {
      const asked = fetch(address).then((answer) => (answer.ok ? answer.json() : null));
      told.set(address, asked.catch(() => told.delete(address) && null));
    }
    return told.get(address);
  }

  function later(wait, work) {
    let timer = null;
    return (...given) => {
      clearTimeout(timer);
      timer = setTimeout(work, wait, ...given);
    };
  }

  // The address as the page is now, and the links to its other views with it.
  function write(fields) {
    const address = new URL(window.location.href);
    for (const [name, value] of Object.entries(fields)) {
      if (value) address.searchParams.set(name, value);
      else address.searchParams.delete(name);
    }
    window.history.replaceState(window.history.state, "", address);
    for (const link of document.querySelectorAll(".atlas-views a")) {
      const view = new URL(link.href);
      for (const name of KEPT) {
        if (address.searchParams.has(name)) view.searchParams.set(name, address.searchParams.get(name));
        else view.searchParams.delete(name);
      }
      link.setAttribute("href", view.pathname + view.search);
    }
  }

  class Lattice {
    constructor(root) {
      this.root = root;
      this.group = Number(root.dataset.group);
      this.keys = facts.keys;
      const [i, j, n] = root.dataset.zoom.split(",").map(Number);
      this.view = { i, j, n };
      this.cursor = null; // the cell in hand
      this.region = this.read(facts.region);
      this.selecting = false; // whether dragging selects
      this.cells = root.querySelector(".atlas-cells");
      this.bars = [1, 2].map((set) => new window.AtlasBars(this, set));
      this.says = root.querySelector(".atlas-says");
      this.settle = later(SETTLED, () => this.root.isConnected && write({ zoom: zooms() }));
      this.commit = later(SETTLED, () => this.root.isConnected && this.share());
      this.tell = later(PATIENCE, (cell, box) => same(cell, box ? this.pointed : this.cursor) && this.facts(cell, box));
      this.listen();
    }

    read(text) {
      const [group, ...ends] = (text.match(/\d+/g) ?? []).map(Number);
      return group === this.group ? { from: { i: ends[0], j: ends[2] }, to: { i: ends[1], j: ends[3] } } : null;
    }

    async load() {
      const asked = colour;
      this.root.setAttribute("aria-busy", true);
      const answer = await ask(fill(facts.paths.cells, { group: this.group, colour: asked }));
      if (asked !== colour) return; // another one has been asked for since
      this.root.removeAttribute("aria-busy");
      if (!answer) {
        this.says.textContent = "The map could not be loaded. Reload the page to try again.";
        return;
      }
      this.answer = answer;
      const paint = channels(answer.paint);
      this.codes = await unpack(answer.cells);
      this.image = pictured(this.codes, this.keys, paint);
      this.says.textContent = "Point at a cell or a bar, or move to it with the keyboard.";
    }

    // drawing

    board(canvas) {
      const { width, height } = canvas.getBoundingClientRect();
      const ratio = window.devicePixelRatio || 1;
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      const board = canvas.getContext("2d");
      board.scale(ratio, ratio);
      return { board, width, height };
    }

    draw() {
      if (!this.image || !this.root.isConnected) return;
      const { board, width } = this.board(this.cells);
      const { i, j, n } = this.view;
      board.imageSmoothingEnabled = this.cells.width < n; // many cells to a pixel: their mean
      board.imageSmoothingQuality = "high";
      board.drawImage(this.image, j, i, n, n, 0, 0, width, width);
      const side = width / n;
      const frame = (from, to, fillStyle) => {
        const box = [(from.j - j) * side, (from.i - i) * side, (to.j - from.j + 1) * side, (to.i - from.i + 1) * side];
        board.fillStyle = fillStyle;
        board.fillRect(...box);
        for (const [lineWidth, strokeStyle] of [[4, "#000"], [2, "#fff"]]) {
          Object.assign(board, { lineWidth, strokeStyle });
          board.strokeRect(...box);
        }
      };
      if (this.region) frame(...this.corners(), "rgba(255, 255, 255, 0.12)");
      if (this.cursor && document.activeElement === this.cells) frame(this.cursor, this.cursor, "transparent");
      this.cells.style.touchAction = this.selecting || n < this.keys ? "none" : "pan-y";
      for (const bars of this.bars) bars.draw();
    }

    // How long the bar of a value is, of the longest.
    length(value) {
      if (!(value > 0)) return 0;
      const [least, most] = ends;
      return this.answer.logarithmic ? Math.log((2 * value) / least) / Math.log((2 * most) / least) : value / most;
    }

    // where things are

    corners() {
      const { from, to } = this.region;
      return [Math.min, Math.max].map((end) => ({ i: end(from.i, to.i), j: end(from.j, to.j) }));
    }

    cell(event) {
      const box = this.cells.getBoundingClientRect();
      const [y, x] = [(event.clientY - box.top) / box.height, (event.clientX - box.left) / box.width];
      const place = (first, share) => within(Math.floor(first + share * this.view.n), 0, this.keys - 1);
      return { i: place(this.view.i, y), j: place(this.view.j, x) };
    }

    move(view) {
      const n = within(view.n, Math.min(SMALLEST, this.keys), this.keys);
      this.view = { n, i: within(view.i, 0, this.keys - n), j: within(view.j, 0, this.keys - n) };
      this.draw();
      this.settle();
    }

    zoom(factor, y = 0.5, x = 0.5) {
      const { i, j, n } = this.view;
      const next = within(n * factor, Math.min(SMALLEST, this.keys), this.keys);
      this.move({ n: next, i: i + (n - next) * y, j: j + (n - next) * x });
    }

    reach({ i = null, j = null }) {
      const { n } = this.view;
      const into = (first, key) => (key === null ? first : within(first, key + 1 - n, key));
      this.move({ n, i: into(this.view.i, i), j: into(this.view.j, j) });
    }

    // what is said, opened and selected

    async facts(cell, box) {
      const expert = cell.i * this.keys + cell.j;
      const asked = `${fill(facts.paths.facts, { group: this.group, expert })}?colour=${encodeURIComponent(colour)}`;
      this.asked = asked;
      const found = await ask(asked);
      if (!found || this.asked !== asked || !this.root.isConnected) return;
      this.says.textContent = window.hovercard.line(found);
      if (box) window.hovercard.draw({ ...found, note: window.hovercard.noted(found) }, box);
    }

    open({ i, j }) {
      this.forget();
      visit(fill(facts.paths.expert, { group: this.group, expert: i * this.keys + j }));
    }

    openKey(set, key) {
      visit(fill(facts.paths.key, { group: this.group, key_set: set, key }));
    }

    share() {
      const [from, to] = this.region ? this.corners() : [];
      const text = this.region ? `${this.group}:${from.i}-${to.i},${from.j}-${to.j}` : "";
      write({ select: text });
      window.dash_clientside.set_props("atlas-region", { data: text });
    }

    select(region) {
      for (const map of maps) {
        if (map !== this && map.region) {
          map.region = null;
          map.draw();
        }
      }
      this.region = region;
      this.draw();
    }

    // what people do

    listen() {
      new ResizeObserver(() => this.draw()).observe(this.cells);
      const on = (name, work) => this.cells.addEventListener(name, work, { passive: false });
      on("wheel", (event) => {
        if (event.deltaY > 0 && this.view.n === this.keys) return; // the page scrolls
        event.preventDefault();
        const box = this.cells.getBoundingClientRect();
        const shares = [(event.clientY - box.top) / box.height, (event.clientX - box.left) / box.width];
        this.zoom(1.0015 ** within(event.deltaY, -400, 400), ...shares);
      });
      on("pointerdown", (event) => this.press(event));
      on("pointermove", (event) => (this.held ? this.drag(event) : this.point(event)));
      on("pointerup", (event) => this.release(event));
      on("pointercancel", () => (this.held = null));
      on("pointerleave", () => this.held || this.forget());
      on("keydown", (event) => this.key(event));
      on("focus", () => this.grasp());
      on("blur", () => this.draw());
      this.root.addEventListener("click", (event) => this.button(event.target.closest("[data-do]")));
    }

    press(event) {
      if (event.button) return;
      this.cells.setPointerCapture(event.pointerId);
      this.held = { x: event.clientX, y: event.clientY, view: this.view, cell: this.cell(event), moved: false };
      this.held.selects = this.selecting || event.shiftKey;
    }

    drag(event) {
      const { x, y, view, cell, selects } = this.held;
      const [down, right] = [event.clientY - y, event.clientX - x];
      this.held.moved ||= Math.hypot(down, right) > 4;
      if (!this.held.moved) return;
      this.forget();
      const side = this.cells.getBoundingClientRect().width / view.n;
      if (selects) this.select({ from: cell, to: this.cell(event) });
      else this.move({ n: view.n, i: view.i - down / side, j: view.j - right / side });
    }

    release(event) {
      const { held } = this;
      this.held = null;
      if (!held) return;
      if (held.selects) {
        this.select({ from: held.cell, to: this.cell(event) });
        this.commit();
      } else if (!held.moved && event.pointerType === "touch" && !same(this.touched, held.cell)) {
        this.touched = held.cell; // a second touch opens it
        this.point(event);
      } else if (!held.moved) this.open(held.cell);
    }

    point(event) {
      const cell = this.cell(event);
      if (same(cell, this.pointed)) return;
      this.forget();
      this.pointed = cell;
      const [left, top] = [event.clientX + 10, event.clientY - 6];
      this.tell(cell, { left, right: left, top, bottom: top + 12 });
    }

    forget() {
      this.pointed = null;
      this.asked = null;
      window.hovercard.hide();
    }

    grasp() {
      const centre = (first) => Math.floor(first + this.view.n / 2);
      this.cursor ??= { i: centre(this.view.i), j: centre(this.view.j) };
      this.draw();
      if (this.cells.matches(":focus-visible")) this.facts(this.cursor);
    }

    key(event) {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const step = STEPS[event.key] ?? LEAPS[event.key];
      const others = { Enter: () => this.open(this.cursor), "+": () => this.zoom(0.5), "=": () => this.zoom(0.5) };
      others["-"] = () => this.zoom(2);
      others["0"] = () => this.move({ i: 0, j: 0, n: this.keys });
      others.Escape = () => (this.select(null), this.commit());
      if (!step && !others[event.key]) return;
      event.preventDefault();
      this.forget();
      if (!step) {
        others[event.key]();
        if (event.key !== "Enter" && event.key !== "Escape") this.reach(this.cursor);
        return;
      }
      const before = this.cursor;
      this.cursor = { i: within(before.i + step[0], 0, this.keys - 1), j: within(before.j + step[1], 0, this.keys - 1) };
      if (event.shiftKey) {
        this.select({ from: this.region?.to && same(this.region.to, before) ? this.region.from : before, to: this.cursor });
        this.commit();
      }
      this.reach(this.cursor);
      this.tell(this.cursor);
    }

    button(pressed) {
      const does = {
        in: () => this.zoom(0.5),
        out: () => this.zoom(2),
        all: () => this.move({ i: 0, j: 0, n: this.keys }),
        select: () => {
          this.selecting = !this.selecting;
          pressed.setAttribute("aria-pressed", this.selecting);
          this.draw();
        },
      };
      if (pressed && this.image) does[pressed.dataset.do]();
    }
  }

  const same = (one, other) => Boolean(one && other) && one.i === other.i && one.j === other.j;

  // The ends of the bars of all maps: groups side by side compare. Means may be negative; their bars are empty.
  function barEnds() {
    const values = maps.flatMap(({ answer }) => (answer ? [...answer.rows, ...answer.columns] : [])).filter((one) => one > 0);
    return [Math.min(...values), Math.max(...values)];
  }

  // Every map that is zoomed; those of groups that are not shown stay as the address has them.
  function zooms() {
    const shown = new Set(maps.map((map) => String(map.group)));
    const others = (new URLSearchParams(window.location.search).get("zoom") ?? "").split(";").filter(Boolean);
    const zoomed = maps.filter((map) => map.view.n < map.keys).map(({ group, keys, view }) => {
      const n = Math.round(view.n);
      const [i, j] = [view.i, view.j].map((first) => within(Math.round(first), 0, keys - n));
      return `${group}:${i},${j},${n}`;
    });
    return [...others.filter((part) => !shown.has(part.split(":")[0])), ...zoomed].join(";");
  }

  new MutationObserver(() => maps.forEach((map) => map.draw())).observe(document.documentElement, {
    attributes: true,
    attributeFilter: ["data-mantine-color-scheme"],
  });

  window.atlasMoves = (key) => STEPS[key] ?? LEAPS[key];
  window.dash_clientside = window.dash_clientside || {};
  window.dash_clientside.atlas = {
    // The maps in a colour; they are made where the page has just come.
    async draw(chosen, given) {
      if (!chosen || !given) return window.dash_clientside.no_update;
      facts = given;
      colour = chosen;
      const roots = [...document.querySelectorAll(".atlas-map")];
      if (roots.some((root) => !root.lattice)) told.clear(); // the run may have been analysed again
      maps = roots.map((root) => (root.lattice ??= new Lattice(root)));
      write({ colour: chosen === "label" ? "" : chosen });
      const load = async (map) => {
        await map.load();
        ends = barEnds();
        maps.forEach((other) => other.draw());
      };
      await Promise.all(maps.map(load));
      return chosen;
    },
  };
})();
