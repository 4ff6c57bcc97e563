// Buttons of frozen trees: see act.py. The time makes each click a change, also of the same button.

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-store]");
  if (!button) return;
  const said = JSON.parse(button.dataset.said);
  window.dash_clientside.set_props(button.dataset.store, { data: { ...said, at: Date.now() } });
  if (said.edit) takeFocus("kept-note-text", Date.now() + 30_000);
});

// The form that takes a button's place takes its focus too, as soon as it is there and can be seen.
function takeFocus(id, until) {
  const field = document.getElementById(id);
  field?.focus();
  if (document.activeElement !== field && Date.now() < until) requestAnimationFrame(() => takeFocus(id, until));
}
