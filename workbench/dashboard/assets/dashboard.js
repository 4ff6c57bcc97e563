// What runs in the browser: frozen trees, links, the tab's title, the map's hover and click, the cells of the grids.

window.dash_clientside = window.dash_clientside || {};
window.dash_clientside.monet = {
  arrive(title) {
    if (title) document.title = title;
    for (const link of document.querySelectorAll(".main-nav a")) {
      if (link.pathname === window.location.pathname) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    const named = window.location.hash.slice(1); // drawn after the browser looked for it
    if (named) requestAnimationFrame(() => document.getElementById(decodeURIComponent(named))?.scrollIntoView());
  },
  hover(data, facts) {
    const unchanged = window.dash_clientside.no_update;
    if (!data || !facts) return [false, unchanged, unchanged];
    const { x, y, z, bbox } = data.points[0]; // z: -1 never active, 0 a generalist, then the labels
    return [true, bbox, `expert ${facts.group}:${y * facts.keys + x} · keys ${y}, ${x} · ${facts.labels[z + 1]}`];
  },
  open(click, facts) {
    const unchanged = window.dash_clientside.no_update;
    if (!click || !facts) return [unchanged, unchanged];
    const { x, y } = click.points[0];
    return [expertAddress(facts.address, y * facts.keys + x), ""];
  },
  openPoint(click, address) {
    const unchanged = window.dash_clientside.no_update;
    if (!click) return [unchanged, unchanged];
    return [expertAddress(address, click.points[0].customdata[0]), ""];
  },
};

// The address of an expert from the template that links.py writes.
function expertAddress(template, expert) {
  return template.replace("{expert}", expert);
}

// A tree of elements that Dash knows as one component: see freeze.py. Text is always a child, never parsed as markup.
window.workbench = {
  Frozen: ({ tree }) => grow(tree),
};

function grow(node) {
  if (Array.isArray(node)) return React.createElement(React.Fragment, null, ...node.map(grow));
  if (node === null || typeof node !== "object") return node;
  return React.createElement(node.tag, node.props, ...[node.children].flat().map(grow));
}

function visit(address) {
  window.history.pushState({}, "", address);
  window.dispatchEvent(new PopStateEvent("popstate"));
  if (!address.includes("#")) window.scrollTo(0, 0);
}

// Links to pages of the dashboard change the address without loading it all again.
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href^='/']:not([download])");
  if (!link || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  visit(link.getAttribute("href"));
});

const cells = (window.dashAgGridComponentFunctions = window.dashAgGridComponentFunctions || {});

cells.ExpertLink = function (params) {
  if (params.value == null) return null;
  return React.createElement("a", { href: expertAddress(params.context.address, params.value) }, String(params.value));
};

cells.LabelSwatch = function (params) {
  if (params.value == null) return null;
  const backgroundColor = params.context.colours[params.value] || "rgba(128, 134, 144, 0.45)";
  const swatch = React.createElement("span", { className: "swatch", style: { backgroundColor }, "aria-hidden": true });
  return React.createElement("span", { className: "label-mark" }, swatch, params.value);
};

const grids = (window.dashAgGridFunctions = window.dashAgGridFunctions || {});

grids.openExpert = function ({ event, data, context }) {
  if (event.key === "Enter" && data) visit(expertAddress(context.address, data.expert));
};

// As score_text in report/numbers.py.
grids.scoreText = function (value) {
  if (value == null) return "–";
  if (value !== 0 && Math.abs(value) < 0.095) return String(Number(value.toPrecision(2)));
  return value.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
};

grids.monetTheme = function (quartz) {
  return quartz.withParams({
    backgroundColor: "var(--mantine-color-body)",
    foregroundColor: "var(--mantine-color-text)",
    borderColor: "var(--mantine-color-default-border)",
    headerBackgroundColor: "var(--panel-tint)",
    chromeBackgroundColor: "var(--mantine-color-body)",
    accentColor: "var(--mantine-primary-color-filled)",
    browserColorScheme: "inherit",
    fontFamily: "inherit",
    fontSize: 13,
    spacing: 5,
    wrapperBorder: false,
  });
};
