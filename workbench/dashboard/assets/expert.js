// The expert page: the reader's own text goes into the address, and its scores are shown in place; Ctrl+Enter asks.

window.dash_clientside = window.dash_clientside || {};
window.dash_clientside.expert = {
  ask(clicks, text) {
    if (!clicks) return window.dash_clientside.no_update;
    const address = new URL(window.location);
    if (text) address.searchParams.set("try", text);
    else address.searchParams.delete("try");
    window.history.replaceState(window.history.state, "", address.pathname + address.search);
    return text || "";
  },
};

document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  if (event.target.closest("#try-text")) document.getElementById("try-run")?.click();
});
