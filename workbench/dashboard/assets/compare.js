// The page Compare: a form leads to the address of what was filled in, without loading the dashboard again.

document.addEventListener("submit", (event) => {
  const form = event.target.closest(".compare-form");
  if (!form) return;
  event.preventDefault();
  const filled = [...new FormData(form)].filter(([, value]) => value.trim());
  visit(`${form.getAttribute("action")}?${new URLSearchParams(filled)}`);
});
