// The menu of a narrow window: its button opens and closes it, Escape, a choice or a click elsewhere closes it.

(() => {
  const button = () => document.getElementById("menu-button");
  const isOpen = () => button()?.getAttribute("aria-expanded") === "true";
  const setOpen = (open) => button()?.setAttribute("aria-expanded", String(open));

  document.addEventListener("click", (event) => {
    if (event.target === button()) setOpen(!isOpen());
    else if (isOpen()) setOpen(false);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !isOpen()) return;
    setOpen(false);
    button().focus();
  });
})();
