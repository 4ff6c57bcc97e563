// What waits for the server says so: to screen readers here, and as a bar at the top of the window in busy.css.

new MutationObserver((changes) => {
  for (const { target } of changes) {
    if (target.id === "page") target.setAttribute("aria-busy", String(target.hasAttribute("data-dash-is-loading")));
  }
}).observe(document.documentElement, { subtree: true, attributeFilter: ["data-dash-is-loading"] });
