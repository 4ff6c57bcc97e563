// The expert page: the reader's own text goes into the address, and its scores are shown in place.

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
