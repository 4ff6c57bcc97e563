// The prompt page: Ctrl+Enter runs the text, and slider and number of a row show one factor.

window.dash_clientside = window.dash_clientside || {};
window.dash_clientside.prompt = {
  // Written even where both look the same already: of two changes in haste, the first one's echo may still be on its way.
  sameFactor(slider, number, min, max) {
    const unchanged = window.dash_clientside.no_update;
    const triggered = window.dash_clientside.callback_context.triggered;
    const moved = triggered.length === 1 && triggered[0].prop_id.includes('"edit-slider"');
    if (moved) return [unchanged, slider];
    return [typeof number === "number" ? Math.min(Math.max(number, min), max) : slider, unchanged];
  },
};

document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  if (event.target.closest("#prompt-text, #prompt-edit")) document.getElementById("prompt-run")?.click();
});
