"""The prompt page in a browser: edits and targets change the answer in place, and text is generated beside it."""

from __future__ import annotations

import re
import urllib.parse

from playwright.sync_api import Page, expect

TEXT = urllib.parse.quote("def f(x):")


def test_a_slider_and_a_target_change_the_answer_where_it_is(page: Page, address: str) -> None:
    page.goto(f"{address}/prompt?text={TEXT}&edit=0:5%3D0,label:lua%3D0")
    expect(page.get_by_role("heading", name="Next token, edited")).to_be_visible()
    page.evaluate("window.kept = true; window.scrollTo(0, 200)")
    slider = page.get_by_role("slider", name="factor of experts of lua")
    slider.focus()
    before = page.evaluate("window.scrollY")
    assert before > 0
    for factor in ("0.1", "0.2", "0.3"):
        slider.press("ArrowRight")
        expect(page).to_have_url(re.compile(rf"label%3Alua%3D{re.escape(factor)}"))
        expect(slider).to_have_attribute("aria-valuenow", factor)
    expect(page.get_by_label("The edit as text")).to_have_value("0:5=0, label:lua=0.3")
    expect(page.get_by_label("factor of experts of lua, as a number")).to_have_value("0.3")
    expect(slider).to_be_focused()
    assert page.evaluate("window.scrollY") == before
    expect(page.locator("#prompt-answer a[download][href*='lua%3D0.3']").first).to_be_visible()  # answered
    page.get_by_label("Explain the token").fill("z")
    page.get_by_label("minus", exact=True).fill("ab")
    page.get_by_role("button", name="Explain").click()
    expect(page.get_by_text("is 2 tokens")).to_be_visible()
    page.get_by_label("minus", exact=True).fill("a")
    page.get_by_label("minus", exact=True).press("Enter")
    expect(page).to_have_url(re.compile(r"&target=\d+&minus=\d+"))
    expect(page.get_by_text("difference of logits")).to_be_visible()
    there = page.evaluate("window.scrollY")
    page.locator("#next-tokens a.next-token").first.click()
    expect(page.locator("#next-tokens a.next-token").first).to_have_attribute("aria-current", "true")
    assert page.evaluate("window.scrollY") == there
    page.get_by_role("button", name="no longer edit expert 0:5").click()
    expect(page.get_by_label("The edit as text")).to_have_value("label:lua=0.3")
    assert page.evaluate("window.kept")  # nothing was loaded anew
    page.go_back()
    expect(page.get_by_label("The edit as text")).to_have_value("0:5=0, label:lua=0.3")
    expect(page.get_by_role("slider")).to_have_count(2)


def test_keys_pressed_in_haste_all_count(page: Page, address: str) -> None:
    page.goto(f"{address}/prompt?text={TEXT}&edit=0:5%3D0")
    expect(page.get_by_role("heading", name="Next token, edited")).to_be_visible()
    slider = page.get_by_role("slider", name="factor of expert 0:5")
    slider.focus()
    for _ in range(5):
        slider.press("ArrowRight")
    expect(page.get_by_label("The edit as text")).to_have_value("0:5=0.5")
    expect(slider).to_have_attribute("aria-valuenow", "0.5")
    expect(slider).to_be_focused()


def test_a_key_taken_back_at_once_stays_taken_back(page: Page, address: str) -> None:
    page.goto(f"{address}/prompt?text={TEXT}&edit=0:5%3D0")
    expect(page.get_by_role("heading", name="Next token, edited")).to_be_visible()
    slider = page.get_by_role("slider", name="factor of expert 0:5")
    slider.focus()
    slider.press("ArrowRight")
    slider.press("ArrowLeft")
    page.wait_for_timeout(1500)  # the field beside it once wrote the factor between back, 400 ms later
    expect(slider).to_have_attribute("aria-valuenow", "0")
    expect(page.get_by_label("factor of expert 0:5, as a number")).to_have_value("0")
    expect(page.get_by_label("The edit as text")).to_have_value("0:5=0")


def test_what_was_moved_last_is_written_to_the_other_even_if_they_look_the_same(page: Page, address: str) -> None:
    """As when a key is taken back while the number between is still on its way to the field."""
    page.goto(f"{address}/prompt?text={TEXT}&edit=0:5%3D0")
    expect(page.get_by_role("heading", name="Next token, edited")).to_be_visible()
    written = """([moved, slider, number]) => {
        const own = window.dash_clientside;
        const triggered = moved.map((type) => ({prop_id: `{"row":0,"type":"${type}"}.value`}));
        const prompt = {callback_context: {triggered}, no_update: "kept"};
        const before = Object.getOwnPropertyDescriptor(window, "dash_clientside");
        Object.defineProperty(window, "dash_clientside", {value: prompt, configurable: true, writable: true});
        try { return own.prompt.sameFactor(slider, number, -2, 4); }
        finally { Object.defineProperty(window, "dash_clientside", before); }
    }"""
    assert page.evaluate(written, [["edit-slider"], 0, 0]) == ["kept", 0]
    assert page.evaluate(written, [["edit-factor"], 0, 0]) == [0, "kept"]
    assert page.evaluate(written, [["edit-factor"], 0, 100]) == [4, "kept"]
    assert page.evaluate(written, [["edit-slider", "edit-factor"], 4, 100]) == [4, "kept"]  # a row that was drawn


def test_a_factor_is_typed(page: Page, address: str) -> None:
    page.goto(f"{address}/prompt?text={TEXT}&edit=0:5%3D0")
    expect(page.get_by_role("heading", name="Next token, edited")).to_be_visible()
    factor = page.get_by_label("factor of expert 0:5, as a number")
    factor.fill("2.5")
    factor.press("Enter")
    expect(page.get_by_label("The edit as text")).to_have_value("0:5=2.5")
    expect(page.get_by_role("slider", name="factor of expert 0:5")).to_have_attribute("aria-valuenow", "2.5")
    factor.fill("100")  # more than the slider can show
    factor.press("Tab")
    expect(page.get_by_label("The edit as text")).to_have_value("0:5=100")
    expect(factor).to_have_value("100")


def test_a_row_is_held_at_some_tokens(page: Page, address: str) -> None:
    page.goto(f"{address}/prompt?text={TEXT}&edit=0:5%3D0,label:lua%3D0")
    expect(page.get_by_role("heading", name="Next token, edited")).to_be_visible()
    tokens = page.get_by_label("tokens at which the factor of experts of lua holds")
    tokens.fill("9-3")
    tokens.press("Enter")
    expect(page.get_by_text("end before they begin; write 3-9")).to_be_visible()
    tokens.fill("3-9")
    tokens.press("Enter")
    expect(page).to_have_url(re.compile("label%3Alua%3D0\\+%403-9|label%3Alua%3D0%20%403-9"))
    expect(page.get_by_label("The edit as text")).to_have_value("0:5=0, label:lua=0 @3-9")
    expect(page.get_by_text("end before they begin")).to_have_count(0)
    expect(page.get_by_role("link", name="Save as an edit file")).to_have_count(0)
    tokens.fill("")
    tokens.press("Enter")
    expect(page.get_by_label("The edit as text")).to_have_value("0:5=0, label:lua=0")


def test_text_is_generated_without_and_with_the_edit(page: Page, address: str) -> None:
    page.goto(f"{address}/prompt")
    page.locator(".sample").first.click()
    expect(page.locator("#prompt-tokens .chip")).to_have_count(20)
    page.get_by_label("An expert", exact=True).fill("0:5")
    page.get_by_label("An expert", exact=True).press("Enter")
    expect(page.get_by_role("heading", name="Next token, edited")).to_be_visible()
    page.get_by_label("Temperature").fill("1")
    page.get_by_label("Tokens", exact=True).fill("6")
    page.get_by_role("button", name="Generate").click()
    expect(page.locator(".written")).to_have_count(2)
    tokens = page.locator(".written").first.locator(".written-token")
    assert 1 <= tokens.count() <= 6
    tokens.first.focus()
    expect(tokens.first.locator(".alternatives .chip")).to_have_count(5)
    expect(tokens.first.locator(".alternatives")).to_be_visible()
    written = page.locator(".written .written-text").all_inner_texts()
    page.goto(address + str(page.get_by_role("link", name="Link to this text").get_attribute("href")))
    expect(page.locator(".written")).to_have_count(2)
    assert page.locator(".written .written-text").all_inner_texts() == written  # drawn anew, from the same seed


def test_an_edit_is_kept_and_loaded_under_the_text_that_stands_there(fresh_page: Page, fresh_address: str) -> None:
    page = fresh_page
    page.goto(f"{fresh_address}/prompt?text={TEXT}&edit=0:5%3D0.5")
    expect(page.get_by_role("heading", name="Next token, edited")).to_be_visible()
    page.get_by_label("Keep this edit as").fill("quiet")
    page.get_by_role("button", name="keep the edit by name").click()
    expect(page.get_by_text("Kept as quiet.")).to_be_visible()
    expect(page.get_by_label("Text for the model")).to_have_value("def f(x):")
    page.get_by_role("button", name="no longer edit expert 0:5").click()
    expect(page.get_by_label("The edit as text")).to_have_value("")
    page.get_by_label("Text for the model").fill("local x")
    page.locator("#edit-load").click()
    page.get_by_role("option", name="quiet").click()
    expect(page).to_have_url(re.compile(r"text=local\+x&edit=0%3A5%3D0\.5"))
    expect(page.get_by_role("slider", name="factor of expert 0:5")).to_have_attribute("aria-valuenow", "0.5")
    expect(page.get_by_label("Text for the model")).to_have_value("local x")


def test_several_prompts_run_with_the_keyboard(page: Page, address: str) -> None:
    page.goto(f"{address}/prompt")
    text = page.get_by_label("Text for the model")
    text.fill("def f\nlocal x")
    page.get_by_role("switch", name="Several prompts").press("Space")
    text.press("Control+Enter")
    expect(page.get_by_role("heading", name="2 prompts")).to_be_visible()
    page.locator("#several a", has_text="local·x").first.click()
    expect(page.locator("#prompt-tokens .chip")).to_have_count(7)
    expect(text).to_have_value("local x")


def test_the_experts_of_a_search_are_edited(page: Page, address: str) -> None:
    page.goto(f"{address}/search?q=x")
    page.get_by_role("link", name="Edit these experts on the prompt page").click()
    expect(page.get_by_label("The edit as text")).to_have_value("search:25/firing/x=0")
    page.get_by_label("Experts of a search").fill("def a")
    page.get_by_label("Text for the model").fill("def f(x):")
    page.get_by_role("button", name="add the experts of the search").click()
    expect(page.get_by_role("heading", name="Next token, edited")).to_be_visible()
    expect(page.get_by_label("The edit as text")).to_have_value(re.compile("search:10/firing/def~20a=0"))
