"""The report in a real browser."""

import re

import pytest
import steps
from conftest import record_of

from vantage.record import About


def test_the_page_of_a_real_run_shows_its_figures(look, real_run):
    tab = look(real_run)
    assert tab.locator("#heldout polyline").count() == 1
    assert tab.locator("#heldout circle").count() == 3
    for name in ("silent_rollouts", "all_correct", "useful_per_second", "repeats"):
        assert tab.locator(f"#signal-{name} polyline").count() == 1
    assert tab.locator("#heat rect").count() > 10
    assert tab.locator("#stages .track i").count() == 6
    assert tab.locator("#table tbody tr").count() == 8


def test_a_question_opens_with_its_pictures_prompts_pairs_and_rollouts(look, real_run):
    tab = look(real_run)
    tab.locator("#table .open").first.click()
    assert tab.locator("#one").is_visible()
    images = tab.locator("#body img")
    assert images.count() == 2
    for number in range(2):
        assert images.nth(number).evaluate("image => image.complete && image.naturalWidth") > 0
    assert images.nth(1).get_attribute("class").split()[0] == "clockwise"
    assert "turned by 90 degrees clockwise" in tab.locator(".variant").nth(1).inner_text().replace(
        "rotated", "turned"
    )
    assert tab.locator(".rollout").count() == 8
    told = tab.locator("#body").inner_text()
    assert re.search(r"Pairs drawn \(\d+\)", told) and "dropped" in told, told
    assert re.search(r"trained \d+\W", told), told


def test_the_page_describes_how_prompts_differ(look, real_run, made_up_run):
    tab = look(real_run)
    tab.locator("#table .open").first.click()
    told = tab.locator(".variant header").all_inner_texts()
    assert told[0].strip() == "prompt 1"
    assert "clockwise" in told[1]
    tab = look(made_up_run)
    tab.locator("#table .open").first.click()
    assert tab.locator(".variant header span").nth(1).inner_text() == "clockwise, reworded"


def test_questions_are_found_filtered_and_sorted(look, made_up_run):
    tab = look(made_up_run)
    rows = tab.locator("#table tbody tr")
    assert rows.count() == 4
    tab.fill("#find", "what is 2")
    assert rows.count() == 1 and rows.first.get_attribute("data-row") == "102"
    tab.fill("#find", "101")
    assert rows.count() == 1 and rows.first.get_attribute("data-row") == "101"
    tab.fill("#find", "nothing like it")
    assert rows.count() == 0 and tab.inner_text("#where") == "0 to 0 of 0"
    tab.fill("#find", "")
    tab.get_by_role("button", name="row", exact=True).click()
    assert [rows.nth(n).get_attribute("data-row") for n in range(4)] == ["100", "101", "102", "103"]
    tab.get_by_role("button", name="row", exact=True).click()
    assert rows.first.get_attribute("data-row") == "103"
    tab.select_option("#kind", "wrong")
    shown = [rows.nth(n).inner_text() for n in range(rows.count())]
    assert all("\t0 %\t" in words for words in shown)


def test_the_page_works_with_the_keyboard(look, made_up_run):
    tab = look(made_up_run)
    tab.locator("#table .open").first.focus()
    tab.keyboard.press("ArrowDown")
    row = tab.evaluate("document.activeElement.closest('tr').dataset.row")
    tab.keyboard.press("Enter")
    assert tab.inner_text("#one-title") == f"Question {row}"
    assert tab.inner_text("#when") == "batch 12, 8 of 8 shown, 12 in all"
    assert tab.locator("#later").is_disabled()
    tab.keyboard.press("ArrowLeft")
    assert tab.inner_text("#when").startswith("batch 10, 7 of 8")
    for _ in range(9):
        tab.keyboard.press("ArrowLeft")
    assert tab.inner_text("#when").startswith("batch 1, 1 of 8")
    tab.keyboard.press("Escape")
    assert not tab.locator("#one").is_visible()
    tab.locator("#accuracy svg").focus()
    tab.keyboard.press("ArrowRight")
    assert "updates" in tab.inner_text("#tip") and "share-shuffle" in tab.inner_text("#tip")


def test_curves_by_updates_seconds_and_tokens(look, made_up_run):
    tab = look(made_up_run)
    ends = {}
    for axis in ("updates", "seconds", "tokens"):
        tab.get_by_role("button", name=axis, exact=True).click()
        ends[axis] = tab.locator("#accuracy svg text").last.text_content()
        assert tab.get_by_role("button", name=axis, exact=True).get_attribute("aria-pressed")
    # 12 batches of 4 updates, 3.5 seconds and 1 + 2 + ... + 32 = 528 tokens.
    assert ends == {"updates": "40", "seconds": "40", "tokens": "6000"}


def test_runs_are_overlaid_and_seeds_are_drawn_as_a_band(look, tmp_path):
    settings = {"learning_rate": 1e-6}
    runs = [
        record_of(tmp_path / name, About("trl", recipe, seed, 4, settings=settings)).run
        for name, recipe, seed in (
            ("a", "grpo", 1),
            ("b", "grpo", 2),
            ("c", {"name": "shuffle-r1", "rounds": 4}, 1),
        )
    ]
    tab = look(*runs)
    assert tab.locator("#legend button").all_inner_texts() == ["grpo, 2 seeds", "shuffle-r1"]
    assert tab.locator("#accuracy polyline").count() == 2
    assert tab.locator("#accuracy polygon.band").count() == 1
    assert tab.locator("#bands").is_visible()
    tab.locator("#legend button").first.click()
    assert tab.locator("#accuracy polyline").count() == 1
    assert tab.locator("#accuracy polygon.band").count() == 0
    tab.select_option("#run", label="c")
    assert tab.locator("#table tbody tr").count() == 4


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_theme_follows_the_system_and_can_be_chosen(look, made_up_run, scheme):
    tab = look(made_up_run, color_scheme=scheme)

    def lightness() -> int:
        colour = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(map(int, re.findall(r"\d+", colour)))

    dark = scheme == "dark"
    assert (lightness() < 200) == dark
    tab.click("#theme")
    assert tab.inner_text("#theme b") == "light" and lightness() > 600
    tab.click("#theme")
    assert tab.inner_text("#theme b") == "dark" and lightness() < 200


@pytest.mark.parametrize("width", [360, 390, 768, 1280])
def test_the_page_fits_a_screen_of_any_width(look, made_up_run, width):
    tab = look(made_up_run, viewport={"width": width, "height": 800})
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    tab.locator("#table .open").first.click()
    assert tab.evaluate("document.getElementById('one').getBoundingClientRect().right") <= width
    assert tab.evaluate("document.getElementById('body').scrollWidth") <= width


def test_a_run_that_has_just_started_has_a_page(look, tmp_path):
    nothing = record_of(tmp_path / "nothing", batches=0)
    tab = look(nothing.run)
    assert "Nothing recorded." in tab.inner_text("#accuracy")
    one = record_of(tmp_path / "one", batches=1)
    tab = look(one.run)
    assert tab.locator("#accuracy circle").count() == 1
    assert tab.locator("#table tbody tr").count() == 4


def test_questions_without_texts_are_in_the_table(look, tmp_path):
    from vantage.record import Keep, Recorder

    with Recorder(tmp_path / "numbers", steps.ABOUT, keep=Keep(rollouts=0)) as recorder:
        recorder.append(steps.made(0))
    tab = look(tmp_path / "numbers")
    assert tab.locator("#table tbody tr").count() == 4
    assert tab.locator("#table .open").count() == 0
    assert "text not in the record" in tab.inner_text("#table")
