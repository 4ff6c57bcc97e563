"""The expert's and the document's page in a real browser: own text, filters, the way to a document, cards, jobs."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from workbench import Run


def test_own_text_is_scored_in_place_and_kept_in_the_address(page: Page, address: str, strongest: int) -> None:
    page.goto(f"{address}/expert/0/{strongest}")
    expect(page.locator("#expert-logits table")).to_be_visible()
    page.evaluate("document.querySelector('h1').dataset.same = 'yes'")
    page.get_by_label("Text for the model").fill("<b>print(1)")
    page.get_by_role("button", name="Show scores").click()
    tokens = page.locator("#try-answer .tokens .token")
    expect(tokens).to_have_count(11)
    expect(page).to_have_url(re.compile(r"\?try=%3Cb%3Eprint"))
    assert page.locator("h1").get_attribute("data-same") == "yes"  # the page was not drawn again
    scored = page.locator("#try-answer .token[data-score]").first
    scored.focus()
    number = scored.get_attribute("data-score")
    shown = scored.evaluate("token => getComputedStyle(token, '::after').content")
    assert shown.strip('"') == number
    page.reload()
    expect(tokens).to_have_count(11)
    expect(page.get_by_label("Text for the model")).to_have_value("<b>print(1)")
    page.get_by_label("Text for the model").fill("<b>")
    page.get_by_label("Text for the model").press("Control+Enter")
    expect(tokens).to_have_count(3)


def test_activations_are_filtered_and_lead_to_the_document(page: Page, address: str, run: Run, strongest: int) -> None:
    active = run.activations(0, strongest)
    page.goto(f"{address}/expert/0/{strongest}")
    page.get_by_role("link", name="All activations").click()
    told = page.get_by_role("status")
    expect(told).to_contain_text(f"{len(active):,} of {len(active):,} tokens match")
    doc = int(active["doc"].iloc[-1])
    page.get_by_label("document", exact=True).fill(str(doc))
    page.get_by_label("document", exact=True).press("Enter")
    here = active[active["doc"] == doc]
    expect(told).to_contain_text(f"{len(here):,} of {len(active):,} tokens match, in 1 document")
    expect(page).to_have_url(re.compile(rf"doc={doc}"))
    best = here.sort_values(["score", "row"], ascending=[False, True]).iloc[0]
    page.get_by_role("link", name=f"document {doc}, token {best['position']}", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Document {doc}")
    expect(page.locator(f"#token-{best['row']}")).to_be_in_viewport()
    assert page.evaluate("window.hacked") is None


def test_card_shows_on_hover_and_on_focus_without_markup(page: Page, address: str, run: Run, strongest: int) -> None:
    page.goto(f"{address}/expert/0/{strongest}")
    expect(page.locator("#expert-logits table")).to_be_visible()
    expect(page.locator("#expert-same-keys h3").first).to_be_visible()  # nothing moves from now on
    link = page.locator(".plain-table a[href^='/expert/0/']").first
    card = page.locator("#hovercard")
    link.hover()
    expect(card).to_contain_text(f"Expert {link.inner_text()}")
    expect(card.locator("script, img")).to_have_count(0)
    page.keyboard.press("Escape")
    expect(card).to_have_count(0)
    page.locator(".plain-table a[href^='/expert/0/']").nth(1).focus()
    expect(card).to_be_visible()
    expect(card).to_have_attribute("role", "tooltip")


def test_cost_of_ablation_is_measured_on_demand(page: Page, address: str, run: Run, strongest: int) -> None:
    page.goto(f"{address}/expert/0/{strongest}")
    button = page.get_by_role("button", name="Measure")
    expect(button).to_be_visible()
    button.click()
    answer = page.locator("#ablation-answer")
    labels = run.activations(0, strongest)["label"].nunique()
    expect(answer.locator("tbody tr")).to_have_count(2 * labels)  # after its tokens, and over whole documents
    expect(answer).to_contain_text("documents where the expert is active")
    expect(button).to_be_hidden()
