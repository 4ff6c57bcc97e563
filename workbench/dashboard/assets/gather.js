// Experts chosen in a grid or with the boxes of a table: see gather.py.

(() => {
  let checked = []; // boxes of a table

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
      checked = [];
      for (const grid of document.querySelectorAll(".expert-grid[id]")) window.dash_ag_grid.getApi(grid.id)?.deselectAll();
      choose([]);
      document.getElementById("gather-bar").focus(); // the button is gone
    },
  };

  function count() {
    checked = [...document.querySelectorAll(".gather-box:checked")];
    choose([...new Set(checked.map((box) => box.dataset.expert))]); // one expert may have several lines
  }

  document.addEventListener("change", (event) => {
    if (event.target.closest?.(".gather-box")) count();
  });

  // A table may be drawn anew, with other experts, beside what stays.
  new MutationObserver(() => {
    if (checked.every((box) => box.isConnected)) return;
    if (document.getElementById("gather-bar")) count();
    else checked = [];
  }).observe(document.documentElement, { childList: true, subtree: true });
})();
