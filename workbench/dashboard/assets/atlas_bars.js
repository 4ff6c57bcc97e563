// The bars beside a map of the atlas: one per key of a set, in step with the map; a click or Enter opens the key's page.

(() => {
  const NUMBERS = { 1: 34, 2: 20 }; // pixels for the numbers of the keys, left of the bars or above them
  const TICKS = [1, 2, 4, 8, 16, 32, 64, 128, 256];

  window.AtlasBars = class {
    // Of a map (see atlas.js) and a key set: 1 for its rows, 2 for its columns.
    constructor(map, set) {
      [this.map, this.set, this.down] = [map, set, set === 1];
      this.canvas = map.root.querySelector(this.down ? ".atlas-rows" : ".atlas-columns");
      this.key = null; // the key in hand
      const on = (name, work) => this.canvas.addEventListener(name, (event) => map.answer && work(event));
      on("pointermove", (event) => this.hold(this.pointed(event)));
      on("pointerleave", () => document.activeElement === this.canvas || this.hold(null));
      on("click", (event) => {
        this.hold(this.pointed(event));
        this.open();
      });
      on("focus", () => this.hold(this.key ?? Math.ceil(this.first)));
      on("blur", () => this.hold(null));
      on("keydown", (event) => this.press(event));
    }

    get first() {
      return this.down ? this.map.view.i : this.map.view.j;
    }

    get values() {
      return this.down ? this.map.answer.rows : this.map.answer.columns;
    }

    draw() {
      const { board, width, height } = this.map.board(this.canvas);
      const [length, room] = this.down ? [height, width] : [width, height];
      const margin = NUMBERS[this.set];
      const last = Math.min(this.map.keys, this.first + this.map.view.n);
      const size = length / this.map.view.n;
      for (let key = Math.floor(this.first); key < last; key++) {
        const from = (key - this.first) * size;
        const long = this.map.length(this.values[key]) * (room - margin);
        const thick = Math.max(size - (size > 3 ? 1 : 0), 1);
        board.fillStyle = key === this.key ? "#d55e00" : "#0072b2";
        board.fillRect(...(this.down ? [margin, from, long, thick] : [from, margin, thick, long]));
      }
      const style = getComputedStyle(this.map.root);
      Object.assign(board, { font: `11px ${style.fontFamily}`, fillStyle: style.color, textBaseline: "middle" });
      board.textAlign = this.down ? "left" : "center";
      const step = TICKS.find((one) => one * size >= 40) ?? this.map.keys;
      for (let key = Math.ceil(this.first / step) * step; key < last; key += step) {
        const at = Math.max(8, Math.min((key - this.first + 0.5) * size, length - 12));
        board.fillText(`${key}`, ...(this.down ? [4, at] : [at, 9]));
      }
    }

    pointed(event) {
      const box = this.canvas.getBoundingClientRect();
      const share = this.down ? (event.clientY - box.top) / box.height : (event.clientX - box.left) / box.width;
      return this.within(Math.floor(this.first + share * this.map.view.n));
    }

    within(key) {
      return Math.max(0, Math.min(key, this.map.keys - 1));
    }

    hold(key) {
      if (key === this.key) return;
      this.key = key;
      if (key !== null) {
        const value = this.values[key].toLocaleString("en", { maximumSignificantDigits: 3 });
        this.map.says.textContent = `Key ${key} of set ${this.set} · ${this.map.answer.margin}: ${value}`;
      }
      this.draw();
    }

    open() {
      this.map.openKey(this.set, this.key);
    }

    press(event) {
      const step = window.atlasMoves(event.key);
      if (!step && event.key !== "Enter") return;
      event.preventDefault();
      if (!step) {
        this.open();
        return;
      }
      this.hold(this.within(this.key + step[0] + step[1]));
      this.map.reach(this.down ? { i: this.key } : { j: this.key });
    }
  };
})();
