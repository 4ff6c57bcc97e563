// Lists of experts: switches, brushes and the grid's filters are one state, and that state lives in the address.

(() => {
  const BAR = 18; // width of a scrollbar

  function sorted(value) {
    if (Array.isArray(value)) return value.map(sorted);
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]));
  }

  const text = (value) => JSON.stringify(sorted(value ?? {}));
  const same = (one, other) => text(one) === text(other);

  const filtered = {}; // by id of a grid, the filters it has
  const spared = {}; // by id of a grid, the columns that it can do without

  // The labels that a filter asks for, and the filter that asks for labels: see chosen_labels.
  function labelsOf(model) {
    const conditions = model ? model.conditions ?? [model] : [];
    if (conditions.length > 1 && model.operator !== "OR") return [];
    return conditions.every(({ type }) => type === "equals") ? conditions.map(({ filter }) => filter) : [];
  }

  function filterOf(labels) {
    const conditions = labels.map((filter) => ({ filterType: "text", type: "equals", filter }));
    return conditions.length > 1 ? { filterType: "text", operator: "OR", conditions } : conditions[0];
  }

  // Columns that matter least are shown where there is room for all; one that orders the list always is.
  function fit(id) {
    const box = document.getElementById(id);
    const api = box && window.dash_ag_grid?.getApi(id);
    if (!api || api.isDestroyed()) return;
    const width = (column) => column?.getMinWidth() ?? 0;
    let room = box.clientWidth - BAR - api.getAllGridColumns().reduce((sum, column) => sum + width(column), 0);
    for (const field of spared[id]) {
      const column = api.getColumn(field);
      const gone = room < 0 && !column?.getSort();
      if (gone) room += width(column);
      if (column && column.isVisible() === gone) api.setColumnsVisible([field], !gone);
    }
  }

  // A brush keeps a range of a column, or lets it go: see brushes.js.
  window.narrowExperts = (grid, field, range) => {
    const { [field]: gone, ...filterModel } = filtered[grid] ?? {};
    if (range) filterModel[field] = { filterType: "number", type: "inRange", filter: range[0], filterTo: range[1] };
    if (range || gone) window.dash_clientside.set_props(grid, { filterModel });
  };

  window.dash_clientside = window.dash_clientside || {};
  window.dash_clientside.experts = {
    // The grid's filters, changed by a switch; the switches as the filters have them.
    filters(readable, rules, labels, model, choice, grid) {
      const by = (window.dash_clientside.callback_context.triggered[0]?.prop_id ?? "").split(".");
      const next = { ...model };
      const asked = by[0] === `${grid}-readable` ? (readable ? Object.keys(choice.rules) : []) : rules ?? [];
      if (by[0] === `${grid}-readable` || by[0] === `${grid}-rules`) {
        for (const [field, rule] of Object.entries(choice.rules)) {
          if (asked.includes(field)) next[field] = rule;
          else if (same(next[field], rule)) delete next[field];
        }
      }
      if (by[0] === `${grid}-labels`) {
        if (labels?.length) next.specialised = filterOf(labels);
        else delete next.specialised;
      }
      filtered[grid] = next;
      const named = labelsOf(next.specialised);
      const set = Object.keys(choice.rules).filter((field) => same(next[field], choice.rules[field]));
      const all = set.length === Object.keys(choice.rules).length;
      const { no_update: unchanged } = window.dash_clientside;
      return [same(next, model) ? unchanged : next, all, set, same(named, labels) ? unchanged : named];
    },
    // The address of the list as it is filtered and sorted.
    remember(request, choice, grid) {
      if (!request || !choice) return;
      spared[grid] = choice.spare;
      fit(grid);
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

  window.addEventListener("resize", () => Object.keys(spared).forEach(fit));
  document.addEventListener("click", (event) => event.target.closest?.(".ag-row a") && leave(event), true);
  document.addEventListener("keydown", (event) => event.key === "Enter" && leave(event), true);
})();
