// The search: the box in the header, and on the page of a text, tokens that light their experts and experts their tokens.

window.dash_clientside = window.dash_clientside || {};
window.dash_clientside.search = {
  typed(times) {
    return { text: document.getElementById("search-box").value, times };
  },
  // What the box shows: the query of the search page.
  query(pathname, search) {
    return pathname.endsWith("/search") ? (new URLSearchParams(search).get("q") ?? "") : "";
  },
};

document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, textarea, select, [contenteditable]")) return;
  const box = document.getElementById("search-box");
  if (!box) return;
  event.preventDefault();
  box.focus();
  box.select();
});

// What the slider of densities says of a power of ten.
(window.dashMantineFunctions ??= {}).shareOfPower = (power) => `${Number((100 * 10 ** power).toPrecision(3))} %`;

// Scores of an expert by token, as found_text.py writes them: "0:0.12 3:0.5".
function scoresOf(link) {
  return new Map(link.dataset.scores.split(" ").map((pair) => pair.split(":").map(Number)));
}

function light(element, share) {
  element.classList.toggle("lit", share > 0);
  element.style.setProperty("--shade", `${Math.round(10 + 40 * share)}%`);
}

function lightFor(target) {
  const page = target.closest?.(".search-lights");
  const token = target.closest?.("[data-token]");
  const expert = target.closest?.("tr")?.querySelector("[data-scores]");
  for (const lit of document.querySelectorAll(".search-lights .lit")) light(lit, 0);
  if (!page || !(token || expert)) return;
  if (token) {
    const links = [...page.querySelectorAll("[data-scores]")];
    const scores = links.map((link) => scoresOf(link).get(Number(token.dataset.token)) ?? 0);
    const most = Math.max(...scores);
    links.forEach((link, at) => light(link.closest("tr"), most && scores[at] / most));
  } else {
    const scores = scoresOf(expert);
    const most = Math.max(...scores.values());
    for (const [at, score] of scores) light(page.querySelector(`[data-token="${at}"]`), score / most);
  }
}

document.addEventListener("mouseover", (event) => lightFor(event.target));
document.addEventListener("focusin", (event) => lightFor(event.target));
