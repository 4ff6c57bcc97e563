// Buttons of frozen trees: see act.py. The time makes each click a change, also of the same button.

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-store]");
  if (!button) return;
  const said = JSON.parse(button.dataset.said);
  window.dash_clientside.set_props(button.dataset.store, { data: { ...said, at: Date.now() } });
});

window.dash_clientside = window.dash_clientside || {};
window.dash_clientside.kept = {
  // A note that is to be changed has the button's place, and its focus.
  write(known) {
    if (known) document.getElementById("kept-note-text")?.focus();
  },
};
