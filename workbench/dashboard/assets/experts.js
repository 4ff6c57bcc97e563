// Lists of experts: switches, brushes and the grid's filters are one state, and that state lives in the address.

(() => {
  function sorted(value) {
    if (Array.isArray(value)) return value.map(sorted);
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]));
  }

  const text = (value) => JSON.stringify(sorted(value ?? {}));
  const same = (one, other) => text(one) === text(other);

  const filtered = {}; // by id of a grid, the filters it has

  // A brush keeps a range of a column, or lets it go: see brushes.js.
  window.narrowExperts = (grid, field, range) => {
    const { [field]: gone, ...filterModel } = filtered[grid] ?? {};
    if (range) filterModel[field] = { filterType: "number", type: "inRange", filter: range[0], filterTo: range[1] };
    if (range || gone) window.dash_clientside.set_props(grid, { filterModel });
  };

  window.dash_clientside = window.dash_clientside || {};
  window.dash_clientside.experts = {
    // The grid's filters, changed by a switch; the switches as the filters have them.
    filters(readable, rules, model, choice, grid) {
      const by = (window.dash_clientside.callback_context.triggered[0]?.prop_id ?? "").split(".");
      const next = { ...model };
      const asked = by[0] === `${grid}-readable` ? (readable ? Object.keys(choice.rules) : []) : rules ?? [];
      if (by[0] === `${grid}-readable` || by[0] === `${grid}-rules`) {
        for (const [field, rule] of Object.entries(choice.rules)) {
          if (asked.includes(field)) next[field] = rule;
          else if (same(next[field], rule)) delete next[field];
        }
      }
      filtered[grid] = next;
      const set = Object.keys(choice.rules).filter((field) => same(next[field], choice.rules[field]));
      const all = set.length === Object.keys(choice.rules).length;
      return [same(next, model) ? window.dash_clientside.no_update : next, all, set];
    },
    // The address of the list as it is filtered and sorted.
    remember(request, choice) {
      if (!request || !choice) return;
      const filter = same(request.filterModel, choice.first) ? null : text(request.filterModel);
      const [order] = request.sortModel ?? [];
      const sort = order ? `${order.colId}-${order.sort}` : "none";
      write({ filter, sort: sort === choice.sort ? null : sort });
    },
  };

  function write(fields) {
    const address = new URL(window.location.href);
    const before = address.search;
    for (const [name, value] of Object.entries(fields)) {
      if (value === null) address.searchParams.delete(name);
      else address.searchParams.set(name, value);
    }
    if (address.search !== before && !("row" in fields)) address.searchParams.delete("row"); // another list
    window.history.replaceState(window.history.state, "", address);
  }

  // The row that is opened, before the link or the key leaves the page.
  function leave(event) {
    const row = event.target.closest?.(".expert-grid .ag-row");
    if (row && row.closest("#experts-grid, #label-grid")) write({ row: row.getAttribute("row-index") });
  }

  document.addEventListener("click", (event) => event.target.closest?.(".ag-row a") && leave(event), true);
  document.addEventListener("keydown", (event) => event.key === "Enter" && leave(event), true);
})();
