// A card beside every link that names an expert, on hover and keyboard focus: its label, top tokens and explanation.
// Texts of the corpus go in by textContent, so that they never become markup.

(() => {
  const DELAY = 200; // ms of pointing before the card shows
  const known = new Map(); // address of a card -> promise of its facts
  let timer = null;
  let described = null; // the link that has the card
  let pointed = null; // the point that has it

  // Of a link to an expert that shows its id, or to an expert's tokens in a document.
  function cardAddress(link) {
    const { pathname, searchParams } = new URL(link.href);
    const own = /^(.*)\/expert\/(\d+)\/(\d+)$/.exec(pathname);
    if (own) return link.textContent.includes(own[3]) ? `${own[1]}/card/${own[2]}/${own[3]}` : null;
    const [, base] = /^(.*)\/documents\/\d+$/.exec(pathname) ?? [];
    const [, group, expert] = /^(\d+):(\d+)$/.exec(searchParams.get("expert") ?? "") ?? [];
    const named = base !== undefined && expert && link.textContent === `${group}:${expert}`;
    return named ? `${base}/card/${group}/${expert}` : null;
  }

  function facts(address) {
    if (!known.has(address)) {
      const asked = fetch(address).then((answer) => (answer.ok ? answer.json() : null));
      known.set(address, asked.catch(() => known.delete(address) && null));
    }
    return known.get(address);
  }

  function part(parent, tag, className, text) {
    const made = document.createElement(tag);
    made.className = className;
    if (text) made.textContent = text;
    parent.append(made);
    return made;
  }

  function hide() {
    clearTimeout(timer);
    document.getElementById("hovercard")?.remove();
    described?.removeAttribute("aria-describedby");
    described = pointed = null;
  }

  async function show(link, address) {
    const told = await facts(address);
    if (!told || described !== link || !link.isConnected) return;
    link.setAttribute("aria-describedby", draw(told, link.getBoundingClientRect()).id);
  }

  // The card at an address, beside a box of the screen: of a point or a cell, which is no link.
  function point(address, box, note = "") {
    hide();
    const own = (pointed = {});
    timer = setTimeout(async () => {
      const told = await facts(address);
      if (told && pointed === own) draw({ ...told, note }, box);
    }, DELAY);
  }

  // The card of what is told of an expert, beside a box of the screen.
  function draw(told, box) {
    document.getElementById("hovercard")?.remove();
    const card = part(document.body, "div", "hovercard", "");
    card.id = "hovercard";
    card.setAttribute("role", "tooltip");
    const head = part(card, "div", "hovercard-head", "");
    part(head, "strong", "", `Expert ${told.expert}`);
    const label = part(head, "span", "label-mark", "");
    part(label, "span", "swatch", "").style.backgroundColor = told.colour;
    label.append(told.label);
    if (told.tokens.length) {
      const tokens = part(card, "div", "chips", "");
      for (const token of told.tokens) part(tokens, "span", "chip", token);
    }
    if (told.note) part(card, "p", "", told.note);
    if (told.explanation) part(card, "p", "", told.explanation);
    place(card, box);
    return card;
  }

  function place(card, link) {
    const below = link.bottom + 6 + card.offsetHeight < window.innerHeight;
    card.style.top = `${below ? link.bottom + 6 : Math.max(link.top - card.offsetHeight - 6, 4)}px`;
    card.style.left = `${Math.max(Math.min(link.left, window.innerWidth - card.offsetWidth - 8), 8)}px`;
  }

  function over(event) {
    const link = event.target.closest?.("a[href*='/expert/'], a[href*='?expert=']");
    if (!link || link === described) return;
    const address = cardAddress(link);
    hide();
    if (!address) return;
    described = link;
    timer = setTimeout(() => show(link, address), DELAY);
  }

  function out(event) {
    if (described && !described.contains(event.relatedTarget)) hide();
  }

  // What is told of an expert on a map, beside its label: as a note of its card, and with its tokens as a line.
  const noted = (told) => [`keys ${told.keys.join(", ")}`, told.confirmed && "confirmed", told.value].filter(Boolean).join(" · ");

  function line(told) {
    const tokens = told.tokens.length ? ` · top tokens: ${told.tokens.join("  ")}` : "";
    return `Expert ${told.expert} · ${told.label} · ${noted(told)}${tokens}`;
  }

  window.hovercard = { draw, hide, point, noted, line }; // for maps, whose experts are no links

  window.dash_clientside = window.dash_clientside || {};
  window.dash_clientside.hovercard = {
    // The card of the expert at a point of a figure; customdata is its id and what else is said of it.
    figure(data, id, address) {
      const [at] = data?.points ?? [];
      const graph = document.getElementById(id);
      if (!graph || !Array.isArray(at?.customdata)) return hide();
      const { left, top } = graph.getBoundingClientRect();
      const [expert, note] = at.customdata;
      const box = { left: left + at.bbox.x1 + 8, top: top + at.bbox.y0, bottom: top + at.bbox.y1 };
      point(expertAddress(address, expert), box, note);
    },
  };

  document.addEventListener("mouseover", over);
  document.addEventListener("focusin", over);
  document.addEventListener("mouseout", out);
  document.addEventListener("focusout", out);
  document.addEventListener("click", hide);
  document.addEventListener("scroll", () => document.getElementById("hovercard") && hide(), true);
  document.addEventListener("keydown", (event) => event.key === "Escape" && hide());
})();
