// The picture of a circuit on a canvas: tokens along one axis, layers along the other, nodes of one layer and token in
// one cell. It knows what is where and draws it; circuit.js knows what is chosen and asks the server.

(() => {
  const SPACE = 24; // between the centres of nodes of a cell, in units of the picture
  const NARROWEST = 30; // a column
  const GAP = { x: 12, y: 22 }; // between cells
  const AXIS = { left: 58, bottom: 26 }; // pixels
  const LARGEST = 4; // zoom
  const MARGIN = 0.4; // of the canvas, drawn on each side beyond it, so that moving needs no drawing
  const TURN = 2 * Math.PI;
  const within = (value, low, high) => Math.max(low, Math.min(high, value));

  class CircuitPicture {
    constructor(canvas) {
      this.canvas = canvas;
      this.items = [];
      this.edges = [];
      this.view = { x: 0, y: 0, zoom: 1 };
      this.marks = { pins: new Set(), selected: new Set(), lit: null, hand: null, changes: null, scaled: {}, box: null };
      this.waiting = false;
      new ResizeObserver(() => this.resize()).observe(canvas);
      this.recolour();
    }

    recolour() {
      const style = getComputedStyle(this.canvas);
      const of = (name) => style.getPropertyValue(`--circuit-${name}`).trim();
      this.shades = Object.fromEntries(["text", "dim", "rule", "back", "raises", "lowers", "routing", "pin"].map((name) => [name, of(name)]));
      this.redraw();
    }

    resize() {
      const { width, height } = this.canvas.getBoundingClientRect();
      const ratio = window.devicePixelRatio || 1;
      if (!width) return;
      const fitted = !this.width || this.view.zoom <= this.least() * 1.001;
      [this.width, this.height] = [width, height];
      [this.canvas.width, this.canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
      if (this.items.length) this.place();
      if (fitted) this.fit();
      this.redraw();
    }

    // What is drawn: items with a cell (row, column), an influence and a colour; edges between them by index.
    show(items, edges, columns, rows) {
      const fresh = !this.items.length;
      [this.items, this.edges, this.columns, this.rows] = [items, edges, columns, rows];
      this.place();
      if (fresh) this.fit();
      this.redraw();
    }

    place() {
      const cells = new Map();
      for (const item of this.items) {
        const key = `${item.row},${item.column}`;
        if (!cells.has(key)) cells.set(key, []);
        cells.get(key).push(item);
      }
      const across = new Array(this.columns.length).fill(NARROWEST);
      const down = new Array(this.rows.length).fill(SPACE);
      for (const inside of cells.values()) {
        inside.wide = Math.ceil(Math.sqrt(inside.length / 2));
        const [{ row, column }] = inside;
        across[column] = Math.max(across[column], inside.wide * SPACE);
        down[row] = Math.max(down[row], Math.ceil(inside.length / inside.wide) * SPACE);
      }
      const starts = (sizes, gap) => sizes.map((size, at) => ({ from: sizes.slice(0, at).reduce((sum, one) => sum + one + gap, gap), size }));
      const end = (parts, gap) => parts.at(-1).from + parts.at(-1).size + gap;
      this.across = starts(across, GAP.x);
      const wide = end(this.across, GAP.x);
      const high = (wide * (this.height - AXIS.bottom)) / (this.width - AXIS.left); // as high as the canvas is for that width
      const free = high - down.reduce((sum, one) => sum + one, 0);
      this.between = Math.max(GAP.y, free / (down.length + 1) || 0);
      this.down = starts(down, this.between);
      this.extent = { x: wide, y: end(this.down, this.between) };
      for (const inside of cells.values()) {
        inside.sort((one, other) => other.influence - one.influence);
        inside.forEach((item, at) => {
          const [column, row] = [this.across[item.column], this.down[item.row]];
          item.x = column.from + column.size / 2 + ((at % inside.wide) - (inside.wide - 1) / 2) * SPACE;
          const high = Math.ceil(inside.length / inside.wide);
          item.y = row.from + row.size / 2 + (Math.floor(at / inside.wide) - (high - 1) / 2) * SPACE;
          item.radius = within(3 + 11 * Math.sqrt(item.influence), 3, 13) * (item.members.length > 1 ? 1.15 : 1);
        });
      }
      this.trace();
    }

    // Paths by how they are drawn, so that a frame is a few strokes.
    trace() {
      const largest = [0, 1].map((kind) => Math.max(...this.edges.filter((one) => one[2] === kind).map((one) => Math.abs(one[3])), 1e-30));
      const paths = new Map();
      this.curves = this.edges.map(([source, target, routing, weight]) => {
        const width = within(Math.ceil(4 * Math.sqrt(Math.abs(weight) / largest[routing])), 1, 4);
        const shade = routing ? "routing" : weight > 0 ? "raises" : "lowers";
        const curve = { from: this.items[source], to: this.items[target], width, shade };
        const style = `${shade} ${width}`;
        if (!paths.has(style)) paths.set(style, { path: new Path2D(), width, shade });
        this.curve(paths.get(style).path, curve);
        return curve;
      });
      this.paths = [...paths.values()].sort((one, other) => one.width - other.width);
      const shapes = new Map();
      for (const item of this.items) {
        if (!shapes.has(item.colour)) shapes.set(item.colour, new Path2D());
        this.shape(shapes.get(item.colour), item, item.radius);
      }
      this.shapes = [...shapes];
    }

    curve(path, { from, to }) {
      const lift = (from.y - to.y) / 2;
      path.moveTo(from.x, from.y);
      path.bezierCurveTo(from.x, from.y - lift, to.x, to.y + lift, to.x, to.y);
    }

    shape(path, { x, y, kind, members }, radius) {
      if (kind === "expert" && members.length === 1) {
        path.moveTo(x + radius, y);
        path.arc(x, y, radius, 0, TURN);
      } else if (kind === "expert") path.roundRect(x - radius, y - radius, 2 * radius, 2 * radius, 4);
      else path.rect(x - radius * 0.8, y - radius * 0.8, 1.6 * radius, 1.6 * radius);
    }

    // where things are

    least() {
      if (!this.extent) return 1;
      return Math.min((this.width - AXIS.left) / this.extent.x, (this.height - AXIS.bottom) / this.extent.y, 1.5);
    }

    fit() {
      if (!this.extent || !this.width) return;
      const zoom = this.least();
      this.move({ zoom, x: (this.width - AXIS.left - zoom * this.extent.x) / 2, y: (this.height - AXIS.bottom - zoom * this.extent.y) / 2 });
    }

    move({ x, y, zoom }) {
      const next = within(zoom, this.least(), LARGEST);
      const grown = next !== this.view.zoom;
      const held = (offset, room, size) => within(offset, Math.min(0, room - next * size), Math.max(0, room - next * size));
      this.view = {
        zoom: next,
        x: held(x, this.width - AXIS.left, this.extent.x),
        y: held(y, this.height - AXIS.bottom, this.extent.y),
      };
      this.redraw(grown);
    }

    zoom(factor, x = (this.width + AXIS.left) / 2, y = (this.height - AXIS.bottom) / 2) {
      const { view } = this;
      const zoom = within(view.zoom * factor, this.least(), LARGEST);
      const grown = zoom / view.zoom;
      const left = x - AXIS.left;
      this.move({ zoom, x: left - (left - view.x) * grown, y: y - (y - view.y) * grown });
    }

    reach(item) {
      const [x, y] = this.screen(item);
      const off = (at, low, high) => (at < low ? low - at : at > high ? high - at : 0);
      const { view } = this;
      this.move({ zoom: view.zoom, x: view.x + off(x, AXIS.left + 20, this.width - 20), y: view.y + off(y, 20, this.height - AXIS.bottom - 20) });
    }

    screen({ x, y }) {
      return [AXIS.left + this.view.x + x * this.view.zoom, this.view.y + y * this.view.zoom];
    }

    hit(x, y, slack = 5) {
      let best = null;
      let nearest = Infinity;
      for (const item of this.items) {
        const [left, top] = this.screen(item);
        const away = Math.hypot(left - x, top - y);
        if (away < Math.max(item.radius * this.view.zoom, 3) + slack && away < nearest) [best, nearest] = [item, away];
      }
      return best;
    }

    inside(box) {
      return this.items.filter((item) => {
        const [x, y] = this.screen(item);
        return x >= box.left && x <= box.right && y >= box.top && y <= box.bottom;
      });
    }

    // The item nearest in a direction; ones off the line count as farther.
    beside(item, [down, right]) {
      let best = item;
      let nearest = Infinity;
      for (const other of this.items) {
        const [along, off] = right ? [(other.x - item.x) * right, other.y - item.y] : [(other.y - item.y) * down, other.x - item.x];
        const away = along + 3 * Math.abs(off);
        if (along > 1 && away < nearest) [best, nearest] = [other, away];
      }
      return best;
    }

    // drawing

    // A frame soon; the scene is painted anew unless it has only moved.
    redraw(anew = true) {
      if (anew) this.scene = null;
      if (this.waiting) return;
      this.waiting = true;
      requestAnimationFrame(() => {
        this.waiting = false;
        if (this.canvas.isConnected && this.width && this.extent) this.draw();
      });
    }

    draw() {
      const board = this.canvas.getContext("2d");
      const ratio = window.devicePixelRatio || 1;
      const [wide, high] = [this.width - AXIS.left, this.height - AXIS.bottom];
      const moved = (name) => (this.scene ? this.view[name] - this.scene[name] : Infinity);
      if (Math.abs(moved("x")) > MARGIN * wide || Math.abs(moved("y")) > MARGIN * high) this.paint(wide, high, ratio);
      board.setTransform(ratio, 0, 0, ratio, 0, 0);
      board.clearRect(0, 0, this.width, this.height);
      const { image } = this.scene;
      const from = [MARGIN * wide - moved("x"), MARGIN * high - moved("y"), wide, high].map((one) => one * ratio);
      board.drawImage(image, ...from, AXIS.left, 0, wide, high);
      this.axes(board);
      if (this.marks.box) {
        const { left, top, right, bottom } = this.marks.box;
        board.strokeStyle = this.shades.pin;
        board.strokeRect(left, top, right - left, bottom - top);
      }
    }

    // The scene around what is in view.
    paint(wide, high, ratio) {
      const { x, y, zoom } = this.view;
      const { pins, lit } = this.marks;
      const image = new OffscreenCanvas(Math.ceil(wide * (1 + 2 * MARGIN) * ratio), Math.ceil(high * (1 + 2 * MARGIN) * ratio));
      const board = image.getContext("2d");
      board.scale(ratio, ratio);
      board.translate(MARGIN * wide + x, MARGIN * high + y);
      board.scale(zoom, zoom);
      this.scene = { image, x, y };
      this.lines(board);
      const faded = pins.size > 0 || lit !== null;
      for (const { path, width, shade } of this.paths) this.stroke(board, path, width, shade, faded ? 0.07 : 0.16 + 0.13 * width);
      for (const [colour, path] of this.shapes) {
        board.globalAlpha = faded ? 0.55 : 1;
        board.fillStyle = colour;
        board.fill(path);
        board.lineWidth = 0.8;
        board.strokeStyle = this.shades.text;
        board.stroke(path);
      }
      if (faded) this.brighten(board);
      board.globalAlpha = 1;
      this.ring(board);
    }

    stroke(board, path, width, shade, alpha) {
      board.globalAlpha = alpha;
      board.lineWidth = (0.5 + width * 0.7) / Math.max(this.view.zoom, 0.5);
      board.strokeStyle = this.shades[shade];
      board.setLineDash(shade === "routing" ? [5 / this.view.zoom, 4 / this.view.zoom] : []);
      board.stroke(path);
      board.setLineDash([]);
    }

    // What leads to and from the pins, and what is followed, over the rest.
    brighten(board) {
      const { pins, lit } = this.marks;
      const ends = new Set();
      this.curves.forEach((curve, at) => {
        if (!(lit?.has(at) || pins.has(curve.from.key) || pins.has(curve.to.key))) return;
        const path = new Path2D();
        this.curve(path, curve);
        this.stroke(board, path, curve.width, curve.shade, 0.35 + 0.15 * curve.width);
        ends.add(curve.from).add(curve.to);
      });
      board.globalAlpha = 1;
      for (const item of ends) {
        const path = new Path2D();
        this.shape(path, item, item.radius);
        board.fillStyle = item.colour;
        board.fill(path);
        board.lineWidth = 1;
        board.strokeStyle = this.shades.text;
        board.stroke(path);
      }
    }

    ring(board) {
      const { pins, selected, hand, scaled, changes } = this.marks;
      const around = (item, strokeStyle, lineWidth, more, dash = []) => {
        const path = new Path2D();
        this.shape(path, item, item.radius + more);
        board.setLineDash(dash);
        Object.assign(board, { strokeStyle, lineWidth });
        board.stroke(path);
        board.setLineDash([]);
      };
      const number = (item, text, shade) => {
        board.font = "600 11px sans-serif";
        board.textAlign = "left";
        board.textBaseline = "middle";
        Object.assign(board, { lineWidth: 3, strokeStyle: this.shades.back, fillStyle: this.shades[shade] });
        board.strokeText(text, item.x + item.radius + 5, item.y);
        board.fillText(text, item.x + item.radius + 5, item.y);
      };
      const largest = changes ? Math.max(...Object.values(changes).map(Math.abs), 1e-30) : 1;
      for (const item of this.items) {
        const by = changes ? item.members.reduce((sum, name) => sum + (changes[name] ?? 0), 0) : 0;
        if (Math.abs(by) > 0.02 * largest) {
          const shade = by > 0 ? "raises" : "lowers";
          around(item, this.shades[shade], 1 + (3 * Math.abs(by)) / largest, 3);
          if (Math.abs(by) > 0.15 * largest) number(item, `${by > 0 ? "+" : "−"}${Math.abs(by).toFixed(2)}`, shade);
        }
        const factors = new Set(item.members.map((name) => scaled[name]).filter((factor) => factor !== undefined));
        if (factors.size) {
          board.lineWidth = 2;
          board.strokeStyle = this.shades.text;
          board.beginPath();
          for (const side of [1, -1]) {
            board.moveTo(item.x - 6, item.y - 6 * side);
            board.lineTo(item.x + 6, item.y + 6 * side);
          }
          if (factors.has(0)) board.stroke();
          else number({ ...item, y: item.y + 12 }, `×${[...factors].join(", ")}`, "text");
        }
        if (selected.has(item.key)) around(item, this.shades.pin, 2, 5, [4, 3]);
        if (pins.has(item.key)) around(item, this.shades.pin, 3, 3);
        if (item === hand) around(item, this.shades.text, 2, 6);
      }
    }

    lines(board) {
      board.globalAlpha = 1;
      board.strokeStyle = this.shades.rule;
      board.lineWidth = 1 / this.view.zoom;
      board.beginPath();
      for (const { from } of this.down.slice(1)) {
        board.moveTo(0, from - this.between / 2);
        board.lineTo(this.extent.x, from - this.between / 2);
      }
      for (const { from } of this.across.slice(1)) {
        board.moveTo(from - GAP.x / 2, 0);
        board.lineTo(from - GAP.x / 2, this.extent.y);
      }
      board.stroke();
    }

    axes(board) {
      const { x, y, zoom } = this.view;
      board.fillStyle = this.shades.dim;
      board.textBaseline = "middle";
      board.font = "12px sans-serif";
      board.textAlign = "right";
      this.rows.forEach((name, at) => {
        const { from, size } = this.down[at];
        const middle = y + zoom * (from + size / 2);
        if (middle > 6 && middle < this.height - AXIS.bottom - 4) board.fillText(name, AXIS.left - 6, middle);
      });
      board.textAlign = "center";
      board.font = "11.5px monospace";
      this.columns.forEach((name, at) => {
        const { from, size } = this.across[at];
        const room = zoom * (size + GAP.x);
        const letters = Math.floor(room / 7.2);
        const middle = AXIS.left + x + zoom * (from + size / 2);
        if (letters < 1 || middle < AXIS.left || middle > this.width) return;
        const text = name.length > letters ? `${name.slice(0, Math.max(letters - 1, 1))}${letters > 2 ? "…" : ""}` : name;
        board.fillText(text, middle, this.height - AXIS.bottom / 2);
      });
    }
  }

  window.CircuitPicture = CircuitPicture;
})();
