// What the address of a circuit says of the page's state: thresholds, kinds of edges, pins, folds and scaled experts.

(() => {
  const START = { keep: 0.8, edges: 0.98, kinds: ["value"], group: "", follow: "", pins: [], folds: [], scale: {} };
  const FIELDS = ["keep", "edges", "kinds", "group", "follow", "pin", "fold", "scale"];

  // What an address says of the page's state; the circuit itself is the server's to read.
  function read(search) {
    const query = new URLSearchParams(search);
    const list = (name, mark = ",") => (query.get(name) ?? "").split(mark).filter(Boolean);
    const share = (name) => (query.has(name) ? Number(query.get(name)) : START[name]);
    const pair = (text, mark) => [text.slice(0, text.lastIndexOf(mark)), text.slice(text.lastIndexOf(mark) + 1)];
    return {
      keep: share("keep"),
      edges: share("edges"),
      kinds: query.has("kinds") ? list("kinds").filter((one) => one !== "none") : START.kinds,
      group: query.get("group") ?? "",
      follow: query.get("follow") ?? "",
      pins: list("pin").map(decodeURIComponent),
      folds: list("fold", ";").map((one) => pair(one, ":")).map(([name, members]) => ({ name: decodeURIComponent(name), members: members.split(",") })),
      scale: Object.fromEntries(list("scale").map((one) => pair(one, "=")).map(([name, factor]) => [name, Number(factor)])),
    };
  }

  function written(state) {
    const same = (name) => JSON.stringify(state[name]) === JSON.stringify(START[name]);
    return {
      keep: same("keep") ? "" : `${state.keep}`,
      edges: same("edges") ? "" : `${state.edges}`,
      kinds: same("kinds") ? "" : state.kinds.join(",") || "none",
      group: state.group,
      follow: state.follow,
      pin: state.pins.map(encodeURIComponent).join(","),
      fold: state.folds.map(({ name, members }) => `${encodeURIComponent(name)}:${members.join(",")}`).join(";"),
      scale: Object.entries(state.scale).map(([name, factor]) => `${name}=${factor}`).join(","),
    };
  }

  window.circuitAddress = { read, written, FIELDS };
})();
