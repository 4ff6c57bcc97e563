// Where the keyboard is survives an update of the page: an element that was drawn anew takes the focus of the one it
// replaces; where there is none, what surrounded it does.

(() => {
  let last = null; // the element that had the focus, how to find its like, and what it was in

  const likeness = (element) => {
    if (element.id) return `#${CSS.escape(element.id)}`;
    for (const name of ["aria-label", "href"]) {
      const value = element.getAttribute(name);
      if (value) return `${element.localName}[${name}="${CSS.escape(value)}"]`;
    }
    return null;
  };

  document.addEventListener("focusin", ({ target }) => {
    const around = [];
    for (let box = target.parentElement; box && box !== document.body; box = box.parentElement) around.push(box);
    last = { element: target, like: likeness(target), around };
  });

  new MutationObserver(() => {
    if (!last || last.element.isConnected || document.activeElement !== document.body) return;
    const { like, around } = last;
    last = null;
    const home = around.find((box) => box.isConnected && box.closest("#page"));
    const next = (like && document.querySelector(like)) ?? home ?? document.getElementById("page");
    if (next === home && !home.hasAttribute("tabindex")) home.setAttribute("tabindex", "-1");
    next?.focus({ preventScroll: true });
  }).observe(document.documentElement, { childList: true, subtree: true });
})();
