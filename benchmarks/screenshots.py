"""Take the screenshots of the report for the documentation, from the demo's report.

Run after the demo: python benchmarks/screenshots.py runs/demo/report.html docs
"""

import os
import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def main(report: Path, folder: Path) -> None:
    rights = ["--no-sandbox"] if os.geteuid() == 0 else []
    there = next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=there, args=rights)
        wide = browser.new_page(viewport={"width": 1280, "height": 900})
        wide.goto(report.resolve().as_uri())
        wide.wait_for_selector("html[data-ready]")
        wide.set_viewport_size({"width": 1280, "height": 1760})
        wide.screenshot(path=folder / "report.png")
        wide.set_viewport_size({"width": 1280, "height": 900})
        _open_question(wide)
        wide.screenshot(path=folder / "report-question.png")
        narrow = browser.new_page(viewport={"width": 390, "height": 844}, device_scale_factor=2)
        narrow.goto(report.resolve().as_uri())
        narrow.wait_for_selector("html[data-ready]")
        _open_question(narrow)
        narrow.screenshot(path=folder / "report-phone.png")
        browser.close()


def _open_question(tab) -> None:
    tab.select_option("#run", label="share-shuffle")
    tab.check("#only")
    tab.locator("#table .open").first.click()
    tab.locator("#body img").first.evaluate("image => image.decode()")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
