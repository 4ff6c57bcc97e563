// The prompt page: Ctrl+Enter runs the text, and slider and number of a row show one factor.

window.dash_clientside = window.dash_clientside || {};
window.dash_clientside.prompt = {
  sameFactor(slider, number, min, max) {
    const unchanged = window.dash_clientside.no_update;
    const moved = window.dash_clientside.callback_context.triggered_id?.type === "edit-slider";
    const shown = typeof number === "number" ? Math.min(Math.max(number, min), max) : slider;
    if (shown === slider) return [unchanged, unchanged];
    return moved ? [unchanged, slider] : [shown, unchanged];
  },
};

document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  if (event.target.closest("#prompt-text, #prompt-edit")) document.getElementById("prompt-run")?.click();
});
