// What test_looks.py asks of a page: what a reader of this window cannot get to see, in words; [] where all is well.
() => {
  const styles = new Map();
  const style = (element) => {
    if (!styles.has(element)) styles.set(element, getComputedStyle(element));
    return styles.get(element);
  };
  const name = (element) => {
    const classes = [...element.classList].slice(0, 2).map((one) => `.${one}`).join("");
    return `${element.tagName.toLowerCase()}${element.id ? `#${element.id}` : ""}${classes}`;
  };
  const SLACK = 2; // px: fractions, and the parts of letters that stand out of their line
  const within = (inner, outer) => ({
    x: inner.left >= outer.left - SLACK && inner.right <= outer.right + SLACK,
    y: inner.top >= outer.top - SLACK - 2 && inner.bottom <= outer.bottom + SLACK + 2,
  });

  // Why the text of a node cannot be read: cut by an ancestor that does not scroll, or outside the page.
  const unreadable = (node) => {
    const range = document.createRange();
    range.selectNodeContents(node);
    let rect = range.getBoundingClientRect();
    if (!rect.width || !rect.height) return null;
    let fixed = false;
    for (let box = node.parentElement; box && box !== document.documentElement; box = box.parentElement) {
      const { overflowX, overflowY, visibility, clipPath, opacity, position, textOverflow } = style(box);
      if (visibility === "hidden" || clipPath !== "none" || opacity === "0" || box.ariaHidden === "true") return null;
      if (overflowX !== "visible" || overflowY !== "visible") {
        const edge = box.getBoundingClientRect();
        const inside = within(rect, edge);
        const told = textOverflow === "ellipsis" && (box.title || box.closest("[title], [href], .ag-cell, .ag-header-cell"));
        if (!inside.x && /hidden|clip/.test(overflowX) && !told) return `cut by ${name(box)}`;
        if (!inside.y && /hidden|clip/.test(overflowY)) return `cut by ${name(box)}`;
        if (!inside.x || !inside.y) rect = edge; // it scrolls there
      }
      if (position === "fixed") fixed = true;
    }
    if (rect.left < -SLACK || rect.right > innerWidth + SLACK) return "outside the window";
    return fixed && rect.top < -SLACK ? "above the window" : null;
  };

  const faults = [];
  const page = document.documentElement;
  if (page.scrollWidth > innerWidth) faults.push(`the page is ${page.scrollWidth} px wide`);
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const node = texts.currentNode;
    if (!node.data.trim() || node.parentElement.closest("script, style, .visually-hidden, .skip-link, .ag-root")) continue;
    const why = unreadable(node);
    if (why) faults.push(`${name(node.parentElement)} “${node.data.trim().slice(0, 40)}” is ${why}`);
  }
  // The steppers of a number may be small: typing and the arrow keys do the same.
  for (const one of document.querySelectorAll("#page :is(a.button, button, [role=tab], input[type=checkbox], summary), header :is(a, button)")) {
    const { width, height } = one.getBoundingClientRect();
    if (!width || one.closest(".visually-hidden, .skip-link, .ag-root, .js-plotly-plot, .mantine-NumberInput-controls")) continue;
    const target = one.matches("input") ? one.closest("label, .mantine-Switch-body, .mantine-Checkbox-body") ?? one : one;
    const box = target.getBoundingClientRect();
    if (box.width < 24 || box.height < 24) faults.push(`${name(one)} “${one.textContent.slice(0, 20)}” is ${Math.round(box.width)} × ${Math.round(box.height)} px, too small to touch`);
  }
  return [...new Set(faults)];
}
