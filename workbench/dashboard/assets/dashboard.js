// What runs in the browser: frozen trees, links, the tab's title, what maps share, the cells of the grids.

const loaded = window.location.pathname + window.location.search;
let asked = 0;

window.dash_clientside = window.dash_clientside || {};
window.dash_clientside.monet = {
  // The page that came with the shell, once, where the address is still its own; any other is asked for.
  go(pathname, search) {
    const unchanged = window.dash_clientside.no_update;
    const again = window.dash_clientside.callback_context.triggered.some((one) => one.prop_id.startsWith("refresh."));
    const first = document.getElementById("first-page");
    first?.remove();
    if (first && !again && pathname + search === loaded) return [...JSON.parse(first.textContent), unchanged];
    asked += 1; // or the same page again would be no change
    return [unchanged, unchanged, unchanged, { pathname, search, again, asked }];
  },
  arrive(title) {
    if (title) document.title = title;
    for (const link of document.querySelectorAll(".main-nav a")) {
      if (link.pathname === window.location.pathname) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    const named = window.location.hash.slice(1); // drawn after the browser looked for it
    if (named) requestAnimationFrame(() => document.getElementById(decodeURIComponent(named))?.scrollIntoView());
  },
  openPoint(click, address) {
    const unchanged = window.dash_clientside.no_update;
    if (!click) return [unchanged, unchanged];
    return [expertAddress(address, click.points[0].customdata[0]), ""];
  },
  // The page of the row that is clicked in a matrix; the addresses are by the names of the rows.
  openRow(click, addresses) {
    const unchanged = window.dash_clientside.no_update;
    const address = click && addresses?.[click.points[0].y];
    if (!address) return [unchanged, unchanged];
    const { pathname, search } = new URL(address, window.location.href);
    return [pathname, search];
  },
};

// The inverse of packed in figures.py.
async function unpack(text) {
  const bytes = Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Int16Array(await new Response(stream).arrayBuffer());
}

// Colours as red, green, blue and opacity: the browser reads them.
function channels(colours) {
  const board = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  return colours.map((shade) => {
    board.clearRect(0, 0, 1, 1);
    board.fillStyle = shade;
    board.fillRect(0, 0, 1, 1);
    return board.getImageData(0, 0, 1, 1).data;
  });
}

// The picture of a map, a pixel for each expert: the codes from -1 on, each in its paint.
function pictured(codes, keys, paint) {
  const pixels = new ImageData(keys, keys);
  codes.forEach((code, at) => pixels.data.set(paint[code + 1], 4 * at));
  const picture = new OffscreenCanvas(keys, keys);
  picture.getContext("2d").putImageData(pixels, 0, 0);
  return picture;
}

// The address of an expert from the template that links.py writes.
function expertAddress(template, expert) {
  return template.replace("{expert}", expert);
}

// A tree of elements that Dash knows as one component: see freeze.py. Text is always a child, never parsed as markup.
(window.workbench ??= {}).Frozen = ({ tree }) => grow(tree);

function grow(node) {
  if (Array.isArray(node)) return React.createElement(React.Fragment, null, ...node.map(grow));
  if (node === null || typeof node !== "object") return node;
  return React.createElement(node.tag, node.props, ...[node.children].flat().map(grow));
}

function visit(address, stay = false) {
  window.history.pushState({}, "", address);
  window.dispatchEvent(new PopStateEvent("popstate"));
  if (stay) hold(document.getElementById("page"));
  else if (!address.includes("#")) window.scrollTo(0, 0);
}

// A page that is drawn anew is short until its grids and charts are: it keeps its height meanwhile, and the browser holds on to
// none of the parts that come and go, or the window would move.
function hold(page) {
  Object.assign(page.style, { minHeight: `${page.offsetHeight}px`, overflowAnchor: "none" });
  clearTimeout(hold.until);
  hold.until = setTimeout(() => Object.assign(page.style, { minHeight: "", overflowAnchor: "" }), 3000);
}

// The address of another view of the page, with the fields that scripts may have set since it was drawn: see keeping.
function withKept(link) {
  const address = new URL(link.href);
  const now = new URLSearchParams(window.location.search);
  for (const name of link.dataset.keeps.split(" ")) {
    if (now.has(name)) address.searchParams.set(name, now.get(name));
    else address.searchParams.delete(name);
  }
  return address.pathname + address.search + address.hash;
}

// Links to pages of the dashboard change the address without loading it all again.
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href^='/']:not([download])");
  if (link?.dataset.keeps) link.setAttribute("href", withKept(link)); // for a new tab too
  if (!link || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  visit(link.getAttribute("href"), link.classList.contains("in-place")); // a change of the page that is shown
});

const cells = (window.dashAgGridComponentFunctions = window.dashAgGridComponentFunctions || {});

cells.ExpertLink = function (params) {
  if (params.value == null) return null;
  return React.createElement("a", { href: expertAddress(params.context.address, params.value) }, String(params.value));
};

function labelMark(label, { colours, other, without, names }) {
  const plain = without.includes(label) ? `rgba(128, 134, 144, ${without.indexOf(label) === 1 ? 0.2 : 0.45})` : other;
  const backgroundColor = Object.hasOwn(colours, label) ? colours[label] : plain;
  const swatch = React.createElement("span", { className: "swatch", style: { backgroundColor }, "aria-hidden": true });
  const shown = Object.hasOwn(names, label) ? names[label] : label;
  return React.createElement("span", { className: "label-mark", title: shown.slice(0, 1000) }, swatch, shown);
}

cells.LabelSwatch = function (params) {
  return params.value == null ? null : labelMark(params.value, params.context);
};

cells.LabelLink = function (params) {
  if (params.value == null) return null;
  return React.createElement("a", { href: params.data.link }, labelMark(params.value, params.context));
};

cells.TwoLines = function (params) {
  return params.value ? React.createElement("span", { className: "two-lines" }, params.value) : null;
};

// A rule without the lead that all of them have, what it quotes in the type of tokens.
cells.Explanation = function (params) {
  if (!params.value) return null;
  const told = params.value.replace(/^Fires (at )?/, "");
  const parts = told
    .split(/(“[^”]*”)|`([^`]+)`/) // what has a backtick itself is quoted in “ ”: text, “ ”, inside backticks, text, …
    .map((part, at) => (at % 3 === 2 && part ? React.createElement("code", { className: "quoted" }, part) : part));
  return React.createElement("span", { className: "two-lines" }, ...parts);
};

const grids = (window.dashAgGridFunctions = window.dashAgGridFunctions || {});

grids.openExpert = function ({ event, data, context }) {
  if (event.key === "Enter" && data) visit(expertAddress(context.address, data.expert));
};

const naturally = new Intl.Collator("en", { numeric: true });

grids.naturalOrder = function (a, b) {
  return naturally.compare(a, b);
};

// As score_text in report/numbers.py.
grids.scoreText = function (value) {
  if (value == null) return "–";
  if (value === 0) return "0";
  if (Math.abs(value) >= 99.95) return value.toLocaleString("en", { maximumFractionDigits: 0 });
  if (Math.abs(value) >= 0.0001) return value.toPrecision(3);
  return value.toExponential(2).replace(/e-(\d)$/, "e-0$1");
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
