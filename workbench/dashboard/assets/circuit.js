// A circuit: what is pinned, folded, scaled and kept, which can be undone; what the server is asked for; mouse and
// keyboard. circuit_address.js reads and writes the address, circuit_items.js folds, circuit_picture.js draws. Texts go
// in by textContent alone.

(() => {
  const PATIENCE = 150; // ms on a node before its card is asked for
  const SETTLED = 250; // ms without a change before the server is asked for another graph
  const POLL = 400; // ms between questions while a circuit is traced
  const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  let circuit = null; // the one on the page

  const fill = (path, fields) => path.replace(/{(\w+)}/g, (_, name) => encodeURIComponent(fields[name]));
  const tell = (id, data) => window.dash_clientside.set_props(id, { data });
  const number = (value) => (Math.abs(value) >= 0.001 ? value.toFixed(3) : value.toExponential(1));

  function later(wait, work) {
    let timer = null;
    return (...given) => {
      clearTimeout(timer);
      timer = setTimeout(work, wait, ...given);
    };
  }

  class Circuit {
    constructor(root, facts) {
      this.root = root;
      this.facts = facts;
      this.canvas = root.querySelector("canvas");
      this.says = root.querySelector(".circuit-says");
      this.picture = new window.CircuitPicture(this.canvas);
      this.state = window.circuitAddress.read(window.location.search);
      this.past = [JSON.stringify(this.state)];
      this.at = 0; // of the past
      this.selected = new Set(); // keys of items that are about to be folded
      this.selecting = false; // whether dragging selects
      this.extra = new Map(); // name of a pinned node -> itself and all its edges
      this.changes = null;
      this.fetchGraph = later(SETTLED, () => this.load());
      this.tellCard = later(PATIENCE, (item, box) => item === this.pointed && this.card(item, box));
      this.listen();
      this.settings();
      tell("circuit-address", window.location.search);
      this.load();
    }

    // the server

    async load() {
      const { keep, edges } = this.state;
      const asked = `${keep} ${edges}`;
      this.asked = asked;
      this.root.setAttribute("aria-busy", true);
      const address = new URL(this.facts.paths.graph, window.location.href);
      address.searchParams.set("keep", keep);
      address.searchParams.set("edges", edges);
      const answer = await fetch(address).then((one) => (one.ok ? one.json() : { failed: "" })).catch(() => ({ failed: "" }));
      if (this.asked !== asked || !this.root.isConnected) return;
      if (answer.percent !== undefined) {
        this.says.textContent = `Tracing the circuit: ${answer.percent} % …`;
        setTimeout(() => this.asked === asked && this.root.isConnected && this.load(), POLL);
        return;
      }
      this.root.removeAttribute("aria-busy");
      if (answer.failed !== undefined) {
        this.says.textContent = `The circuit could not be traced. ${answer.failed || "Reload the page to try again."}`;
        return;
      }
      this.graph = { ...answer, asked };
      this.says.textContent = "Point at a node, or move to one with the arrow keys.";
      this.root.querySelector(".circuit-kept").textContent = this.kept();
      await this.fetchPins();
      this.show();
      tell("circuit-drawn", { keep, edges });
      this.share();
      this.choose();
    }

    kept() {
      const { nodes, edges, experts, all_experts: all, all_edges: left, drawn, completeness } = this.graph.kept;
      const percent = (share) => `${(100 * share).toFixed(1)} %`;
      const most = drawn < left ? ` (the strongest ${drawn.toLocaleString("en")} drawn)` : "";
      return `${experts} of ${all} experts hold ${percent(nodes)} of the influence; ${left.toLocaleString("en")} edges${most} carry ${percent(edges)}. Completeness of the traced circuit: edges into each node sum to its value within ${completeness.toExponential(1)}.`;
    }

    // The pinned nodes with all their edges, those that the thresholds leave out as well.
    async fetchPins() {
      const wanted = this.state.pins.filter((name) => /^[a-z\d.]+$/.test(name) && !this.extra.has(name));
      await Promise.all(wanted.map(async (name) => {
        const answer = await fetch(fill(this.facts.paths.edges, { node: name })).catch(() => null);
        if (answer?.ok) this.extra.set(name, await answer.json());
      }));
    }

    async card(item, box) {
      if (item.group === undefined || item.members.length > 1) return;
      const answer = await fetch(fill(this.facts.paths.card, item)).catch(() => null);
      if (!answer?.ok || item !== this.pointed) return;
      const told = await answer.json();
      if (item === this.pointed) window.hovercard.draw({ ...told, note: this.told(item) }, box);
    }

    // what is drawn

    show() {
      if (!this.graph) return;
      const { items, edges, columns, rows } = window.circuitItems.of(this.graph, this.state, this.extra);
      this.edges = edges;
      this.picture.show(items, edges, columns, rows);
      this.cursor = items.find(({ key }) => key === this.cursor?.key) ?? null;
      this.pointed = null;
      this.mark();
    }

    mark() {
      const { marks } = this.picture;
      marks.pins = new Set(this.state.pins);
      marks.selected = this.selected;
      marks.hand = document.activeElement === this.canvas ? this.cursor : null;
      marks.scaled = this.state.scale;
      marks.changes = this.changes;
      marks.lit = this.graph ? window.circuitItems.followed(this.picture.items, this.edges, this.state) : null;
      this.picture.redraw();
    }

    // what is said and kept

    told(item) {
      return `value ${number(item.value)} · influence ${(100 * item.influence).toFixed(1)} %`;
    }

    say(item) {
      this.says.textContent = `${item.title}${item.label && item.members.length === 1 ? ` · ${item.label}` : ""} · ${this.told(item)}`;
    }

    // A change of the state: kept in the past and in the address, drawn, and told to the panels.
    set(changes) {
      Object.assign(this.state, changes);
      const now = JSON.stringify(this.state);
      if (now === this.past[this.at]) return;
      this.past = [...this.past.slice(0, this.at + 1), now];
      this.at += 1;
      this.changed();
    }

    step(by) {
      if (!this.past[this.at + by]) return;
      this.at += by;
      this.state = JSON.parse(this.past[this.at]);
      this.selected.clear();
      this.changed();
    }

    async changed() {
      const address = new URL(window.location.href);
      const fields = window.circuitAddress.written(this.state);
      for (const name of window.circuitAddress.FIELDS) {
        if (fields[name]) address.searchParams.set(name, fields[name]);
        else address.searchParams.delete(name);
      }
      window.history.replaceState(window.history.state, "", address);
      tell("circuit-address", address.search);
      this.settings();
      const before = this.graph?.asked;
      if (before !== undefined && before !== `${this.state.keep} ${this.state.edges}`) this.fetchGraph();
      await this.fetchPins();
      if (!this.root.isConnected) return;
      this.show();
      this.share();
      this.choose();
    }

    // The controls show the state.
    settings() {
      const { keep, edges, kinds, group, follow } = this.state;
      for (const [id, value] of [["circuit-keep", keep], ["circuit-edges", edges], ["circuit-kinds", kinds], ["circuit-group", group || "none"], ["circuit-follow", follow || "none"]]) {
        window.dash_clientside.set_props(id, { value });
      }
      const disable = (name, off) => (this.root.querySelector(`[data-do="${name}"]`).disabled = off);
      disable("undo", this.at === 0);
      disable("redo", this.at === this.past.length - 1);
    }

    share() {
      const { scale } = this.state;
      if (JSON.stringify(scale) !== this.shared) tell("circuit-scale", scale);
      this.shared = JSON.stringify(scale);
    }

    choose() {
      const pinned = this.state.pins.at(-1);
      const item = this.picture.items.find(({ key }) => key === pinned);
      const chosen = item ? { title: item.title, members: item.members, fold: pinned.startsWith("fold:") ? pinned : "" } : null;
      const now = JSON.stringify(chosen);
      if (now !== this.chosen) tell("circuit-chosen", chosen);
      this.chosen = now;
    }

    pin(key, more = false) {
      const { pins } = this.state;
      const others = more ? pins.filter((one) => one !== key) : [];
      this.set({ pins: pins.includes(key) && (more || pins.length === 1) ? others : [...others, key] });
    }

    // A node that a panel or table names: what it is folded into, where it is.
    pinNode(name) {
      const item = this.picture.items.find(({ members }) => members.includes(name));
      if (!this.state.pins.includes(item?.key ?? name)) this.pin(item?.key ?? name);
      if (item) this.picture.reach(item);
    }

    select(key) {
      if (!this.selected.delete(key)) this.selected.add(key);
      this.saySelected();
    }

    saySelected() {
      const chosen = this.picture.items.filter(({ key }) => this.selected.has(key));
      const sum = (name) => chosen.reduce((total, item) => total + item[name], 0);
      this.says.textContent = `${chosen.length} selected to fold · ${this.told({ value: sum("value"), influence: sum("influence") })}`;
      this.mark();
    }

    together() {
      const members = this.picture.items.filter(({ key }) => this.selected.has(key)).flatMap((item) => item.members);
      if (members.length < 2) {
        this.says.textContent = "Select two nodes or more first: click them with Shift, or press Select and drag.";
        return;
      }
      const field = document.getElementById("circuit-name");
      const names = new Set(this.state.folds.map(({ name }) => name));
      const clean = field.value.replace(/[;:,]/g, " ").trim().slice(0, 40) || "group";
      let name = clean;
      for (let at = 2; names.has(name); at += 1) name = `${clean} ${at}`;
      const left = this.state.folds.map((fold) => ({ ...fold, members: fold.members.filter((one) => !members.includes(one)) }));
      this.selected.clear();
      window.dash_clientside.set_props("circuit-name", { value: "" });
      this.set({ folds: [...left.filter((fold) => fold.members.length > 1), { name, members }], pins: [`fold:${name}`] });
    }

    unfold(key) {
      this.set({ folds: this.state.folds.filter(({ name }) => `fold:${name}` !== key), pins: this.state.pins.filter((one) => one !== key) });
    }

    scale(names, factor) {
      const scale = { ...this.state.scale };
      for (const name of names.filter((one) => /^\d+\./.test(one))) {
        if (factor === 1) delete scale[name];
        else scale[name] = factor;
      }
      this.set({ scale });
    }

    // what people do

    listen() {
      const on = (name, work) => this.canvas.addEventListener(name, work, { passive: false });
      on("wheel", (event) => {
        const { view } = this.picture;
        if (event.deltaY > 0 && view.zoom <= this.picture.least() * 1.001) return; // the page scrolls
        event.preventDefault();
        this.picture.zoom(1.0015 ** -Math.max(-400, Math.min(event.deltaY, 400)), ...this.point(event));
      });
      on("pointerdown", (event) => {
        if (event.button || !this.graph) return;
        this.canvas.setPointerCapture(event.pointerId);
        const [x, y] = this.point(event);
        const item = this.picture.hit(x, y);
        this.held = { x, y, view: this.picture.view, item, moved: false, boxes: this.selecting || (event.shiftKey && !item) };
      });
      on("pointermove", (event) => (this.held ? this.drag(event) : this.over(event)));
      on("pointerup", (event) => this.release(event));
      on("pointercancel", () => (this.held = null));
      on("pointerleave", () => this.held || this.forget());
      on("keydown", (event) => this.key(event));
      on("focus", () => {
        this.cursor ??= this.picture.items.find(({ key }) => key === this.state.pins.at(-1)) ?? this.picture.items.at(-1) ?? null;
        this.mark();
        if (this.cursor && this.canvas.matches(":focus-visible")) this.say(this.cursor);
      });
      on("blur", () => this.mark());
    }

    point(event) {
      const box = this.canvas.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    }

    drag(event) {
      const { held, picture } = this;
      const [x, y] = this.point(event);
      held.moved ||= Math.hypot(x - held.x, y - held.y) > 4;
      if (!held.moved) return;
      this.forget();
      if (held.boxes) {
        picture.marks.box = { left: Math.min(x, held.x), right: Math.max(x, held.x), top: Math.min(y, held.y), bottom: Math.max(y, held.y) };
        picture.redraw();
      } else picture.move({ zoom: held.view.zoom, x: held.view.x + x - held.x, y: held.view.y + y - held.y });
    }

    release(event) {
      const { held, picture } = this;
      this.held = null;
      if (!held) return;
      const { box } = picture.marks;
      picture.marks.box = null;
      if (box) {
        for (const { key, kind } of picture.inside(box)) if (kind === "expert") this.selected.add(key);
        this.saySelected();
      } else if (!held.moved && held.item) {
        this.forget();
        this.cursor = held.item;
        if (event.shiftKey || held.boxes) this.select(held.item.key);
        else this.pin(held.item.key, event.ctrlKey || event.metaKey);
      } else picture.redraw();
    }

    over(event) {
      if (!this.graph) return;
      const item = this.picture.hit(...this.point(event));
      if (item === this.pointed) return;
      this.forget();
      this.pointed = item;
      this.canvas.style.cursor = item ? "pointer" : "grab";
      if (!item) return;
      this.say(item);
      const [left, top] = [event.clientX + 10, event.clientY - 6];
      this.tellCard(item, { left, right: left, top, bottom: top + 12 });
    }

    forget() {
      this.pointed = null;
      window.hovercard.hide();
    }

    key(event) {
      if (!this.cursor) return;
      const { cursor, picture } = this;
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const does = {
        Enter: () => this.pin(cursor.key),
        " ": () => this.select(cursor.key),
        f: () => this.together(),
        a: () => this.scale(cursor.members, cursor.members.some((name) => this.state.scale[name] === 0) ? 1 : 0),
        "+": () => picture.zoom(1.4),
        "=": () => picture.zoom(1.4),
        "-": () => picture.zoom(1 / 1.4),
        0: () => picture.fit(),
        Escape: () => (this.selected.clear(), this.set({ pins: [] }), this.mark()),
      };
      const step = STEPS[event.key];
      if (!step && !does[event.key]) return;
      event.preventDefault();
      this.forget();
      if (!step) return does[event.key]();
      const strongest = event.shiftKey && step[0] ? this.strongest(cursor, step[0]) : null;
      this.cursor = strongest ?? picture.beside(cursor, step);
      picture.reach(this.cursor);
      this.say(this.cursor);
      this.mark();
    }

    // The strongest reader of an item (upwards) or its strongest source.
    strongest(item, down) {
      const [here, there] = down > 0 ? [1, 0] : [0, 1];
      const at = this.picture.items.indexOf(item);
      const mine = this.edges.filter((edge) => edge[here] === at && !edge[2]);
      const [best] = mine.sort((one, other) => Math.abs(other[3]) - Math.abs(one[3]));
      return best ? this.picture.items[best[there]] : item;
    }

    press({ dataset }, pressed) {
      const does = {
        in: () => this.picture.zoom(1.4),
        out: () => this.picture.zoom(1 / 1.4),
        all: () => (this.picture.fit(), this.picture.redraw()),
        undo: () => this.step(-1),
        redo: () => this.step(1),
        fold: () => this.together(),
        unfold: () => this.unfold(dataset.fold),
        unpin: () => this.set({ pins: [] }),
        restore: () => this.set({ scale: {} }),
        scale: () => this.scale(dataset.nodes.split(","), Number(dataset.factor)),
        select: () => {
          this.selecting = !this.selecting;
          pressed.setAttribute("aria-pressed", this.selecting);
        },
      };
      does[dataset.do]?.();
    }
  }

  const here = () => circuit?.root.isConnected && circuit.graph;

  document.addEventListener("click", (event) => {
    const pressed = event.target.closest(".circuit-page [data-do]");
    const named = event.target.closest(".circuit-page [data-pin]");
    if (pressed && here()) circuit.press(pressed, pressed);
    else if (named && here()) circuit.pinNode(named.dataset.pin);
  });
  document.addEventListener("keydown", (event) => {
    if (!here() || !(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z") return;
    if (event.target.closest("input, textarea")) return;
    event.preventDefault();
    circuit.step(event.shiftKey ? 1 : -1);
  });
  new MutationObserver(() => circuit?.picture.recolour()).observe(document.documentElement, {
    attributes: true,
    attributeFilter: ["data-mantine-color-scheme"],
  });

  window.dash_clientside = window.dash_clientside || {};
  window.dash_clientside.circuit = {
    draw(facts) {
      const root = document.querySelector(".circuit-map");
      if (facts && root && circuit?.root !== root) circuit = new Circuit(root, facts);
      return window.dash_clientside.no_update;
    },
    settings() {
      if (!here()) return;
      const changed = {}; // only what was moved: the others may not have followed the state yet
      for (const { prop_id: id, value } of window.dash_clientside.callback_context.triggered) {
        const name = id.split(".")[0].slice("circuit-".length);
        changed[name] = name === "kinds" ? [...value].sort() : value === "none" ? "" : value;
      }
      circuit.set(changed);
    },
    changed(changes) {
      if (!here()) return;
      circuit.changes = changes;
      circuit.mark();
    },
  };
})();
