// The items and edges that a circuit's picture shows: nodes, those folded together as one, with the edges between them
// added up; and the edges that lead along any path to or from what is pinned.

(() => {
  const OTHERS = { embed: "#868e96", bias: "#868e96", rest: "#ced4da", mlp: "#adb5bd", logit: "#343a40" }; // colours of what is no expert

  // What a node is folded into by the choice of the page: its label, its row or its column; "" for nothing.
  function groupOf({ kind, group, expert, label }, by, keys) {
    if (kind !== "expert" || !by) return "";
    const [i, j] = [Math.floor(expert / keys), expert % keys];
    return { label: `label:${label}`, row: `row:row ${i} of group ${group}`, column: `column:column ${j} of group ${group}` }[by] ?? "";
  }

  function itemsOf(nodes, { folds, group }, { layers, keys }, shift) {
    const folded = new Map(folds.flatMap(({ name, members }) => members.map((member) => [member, name])));
    const found = new Map();
    for (const node of nodes) {
      const key = folded.has(node.name) ? `fold:${folded.get(node.name)}` : groupOf(node, group, keys) || node.name;
      if (!found.has(key)) found.set(key, []);
      found.get(key).push(node);
    }
    return [...found].map(([key, members]) => {
      const [main] = [...members].sort((one, other) => other.influence - one.influence);
      const { kind, layer, position } = main;
      const sum = (name) => members.reduce((total, one) => total + one[name], 0);
      return {
        ...main,
        key,
        members: members.map(({ name }) => name),
        title: members.length > 1 ? `${key.slice(key.indexOf(":") + 1)}: ${members.length} nodes` : main.title,
        influence: sum("influence"),
        value: sum("value"),
        colour: main.colour ?? OTHERS[kind],
        row: kind === "logit" ? 0 : kind === "embed" ? layers + 1 : layers - layer,
        column: kind === "bias" ? 0 : position + shift,
      };
    });
  }

  // The edges [source, target, routing, weight] by name: those of the graph, and all of each pinned node.
  function linksOf(graph, pinned) {
    const found = new Map();
    const add = (...link) => found.set(link.slice(0, 3).join(" "), link);
    for (const [source, target, routing, weight] of graph.edges) add(graph.nodes[source].name, graph.nodes[target].name, routing, weight);
    for (const { node, edges } of pinned) {
      for (const [other, away, routing, weight] of edges) add(...(away ? [node.name, other] : [other, node.name]), routing, weight);
    }
    return [...found.values()];
  }

  // What is drawn of a graph in a state; `extra` holds pinned nodes with all their edges.
  function circuitItems(graph, state, extra) {
    const pinned = state.pins.map((name) => extra.get(name)).filter(Boolean);
    const nodes = [...new Map([...graph.nodes, ...pinned.map(({ node }) => node)].map((node) => [node.name, node])).values()];
    const biases = nodes.some(({ kind }) => kind === "bias");
    const items = itemsOf(nodes, state, graph, Number(biases));
    const home = new Map(items.flatMap((item, at) => item.members.map((name) => [name, at])));
    const sums = new Map(); // of edges between the same items
    for (const [source, target, routing, weight] of linksOf(graph, pinned)) {
      const [from, to] = [home.get(source), home.get(target)];
      if (from === undefined || to === undefined || from === to) continue;
      if (!state.kinds.includes(routing ? "routing" : "value")) continue;
      const pair = `${from} ${to} ${routing}`;
      if (!sums.has(pair)) sums.set(pair, [from, to, routing, 0]);
      sums.get(pair)[3] += weight;
    }
    const layers = Array.from({ length: graph.layers }, (_, at) => `layer ${graph.layers - 1 - at}`);
    const columns = [...(biases ? ["bias"] : []), ...graph.tokens];
    return { items, edges: [...sums.values()], columns, rows: ["logit", ...layers, "tokens"] };
  }

  // Indices of the edges that lead to the pins, or on from them; null where nothing is followed.
  function followed(items, edges, { follow, pins }) {
    if (!follow) return null;
    const lit = new Set();
    for (const [way, here, next] of [["up", 1, 0], ["down", 0, 1]]) {
      if (follow !== way && follow !== "both") continue;
      const by = Map.groupBy(edges.keys(), (at) => edges[at][here]);
      const queue = items.flatMap(({ key }, at) => (pins.includes(key) ? [at] : []));
      const seen = new Set(queue);
      while (queue.length) {
        for (const at of by.get(queue.pop()) ?? []) {
          lit.add(at);
          const other = edges[at][next];
          if (!seen.has(other)) queue.push(other);
          seen.add(other);
        }
      }
    }
    return lit;
  }

  window.circuitItems = { of: circuitItems, followed };
})();
