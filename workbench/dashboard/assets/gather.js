// Experts chosen in a grid or with the boxes of a table: see gather.py.

(() => {
  const choose = (experts) => window.dash_clientside.set_props("gathered", { data: experts });

  window.dash_clientside = window.dash_clientside || {};
  window.dash_clientside.gather = {
    rows(rows, choice) {
      if (rows && choice) choose(rows.map((row) => `${choice.group}:${row.expert}`));
    },
    shown(chosen, display, how) {
      const wanted = chosen.length ? "block" : "none";
      const count = chosen.length ? `${chosen.length.toLocaleString("en")} chosen` : how;
      return [count, wanted === display ? window.dash_clientside.no_update : wanted, null];
    },
    none(clicks) {
      if (!clicks) return;
      for (const box of document.querySelectorAll(".gather-box:checked")) box.checked = false;
      for (const grid of document.querySelectorAll(".expert-grid[id]")) window.dash_ag_grid.getApi(grid.id)?.deselectAll();
      choose([]);
      document.getElementById("gather-bar").focus(); // the button is gone
    },
  };

  document.addEventListener("change", (event) => {
    if (!event.target.closest?.(".gather-box")) return;
    const boxes = [...document.querySelectorAll(".gather-box:checked")];
    choose([...new Set(boxes.map((box) => box.dataset.expert))]); // one expert may have several lines
  });
})();
