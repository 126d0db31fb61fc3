#!/usr/bin/env python3
"""Drives the page for operators in Chromium, as a user would: `tests/page/run.py [GOPHERWORKS]`.

Needs Chromium, and the packages of requirements.txt: `python3 -m pip install -r tests/page/requirements.txt`. Prints a line for each check; the
end is 1 if one fails. With `--pictures FOLDER` it keeps screenshots to be looked at.
"""

import argparse
import importlib.resources
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[2]
WORKS = """
[operations]
listen = "127.0.0.1:{port}"
token = "{token}"
[piles.inbox]
source = {{ kind = "generate", books = 1000000000 }}
max_attempts = 1
[dumps.middle]
capacity = {{ books = 80 }}
[incinerators.fire]
burn = {{ kind = "command", command = {command} }}
[crews.near]
from = "inbox"
to = "middle"
gophers = ["2 * load push unload return"]
carts = {{ count = 2, books = 2 }}
steps = {{ push = "20ms" }}
[crews.far]
from = "middle"
to = "fire"
gophers = ["load push unload return"]
carts = {{ count = 2, books = 2 }}
[supervision]
intensity = "unlimited"
in_a_row = "unlimited"
{faults}
"""
KILLS = """
[faults.kills]
kind = "kill"
target = "near/*"
when = { every = "1s" }
"""
TOKEN = "correct-horse-battery"
FAILING = '["/bin/sh", "-c", "echo no such customer >&2; exit 7"]'


class Works:
    """A run with the server for operators."""

    def __init__(self, binary, folder, port, command='["true"]', faults=""):
        self.file = Path(folder) / "works.toml"
        self.file.write_text(WORKS.format(port=port, token=TOKEN, command=command, faults=faults))
        self.command = [binary, "run", str(self.file), "--dead", str(Path(folder) / "dead.jsonl"), *(["--faults"] if faults else [])]
        self.address = f"http://127.0.0.1:{port}/"
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop(self):
        self.process.kill()
        self.process.wait()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def until(what, seconds=20.0):
    """The value once there is one, and the seconds that took."""
    began = time.monotonic()
    while True:
        value = what()
        passed = time.monotonic() - began
        if value:
            return value, passed
        if passed > seconds:
            return None, passed
        time.sleep(0.05)


def shows(page, selector, pattern):
    """True if an element that is shown has this text."""
    return any(re.search(pattern, element.text_content() or "") for element in page.query_selector_all(selector) if element.is_visible())


class Checks:
    def __init__(self):
        self.failed = 0

    def __call__(self, name, holds, more=""):
        print(f"{'ok    ' if holds else 'FAILED'} {name}{f': {more}' if more else ''}", flush=True)
        self.failed += not holds


def opened(browser, works, dark=False, size=(1280, 900), token=None):
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme="dark" if dark else "light")
    page = context.new_page()
    page.trouble, page.foreign = [], []
    page.on("console", lambda message: message.type in ("error", "warning") and page.trouble.append(message.text))
    page.on("pageerror", lambda error: page.trouble.append(str(error)))
    page.on("request", lambda request: request.url.startswith(works.address) or page.foreign.append(request.url))
    until(lambda: answers(works), 20)
    page.goto(works.address)
    return page


def answers(works):
    try:
        with socket.create_connection(("127.0.0.1", int(works.address.rsplit(":", 1)[1].strip("/"))), 1):
            return True
    except OSError:
        return False


def sees_the_works(check, browser, works, pictures):
    page = opened(browser, works)
    ready, passed = until(lambda: shows(page, "#state", "^ready$"))
    check("the state is shown", ready, f"{passed:.1f} s")
    moving, _ = until(lambda: shows(page, "#map text", r"[1-9]\S* books/s"))
    check("the map shows rates", moving)
    check("the account balances", page.locator("#ledger div", has_text="lost").locator("dd").inner_text() == "0")
    page.keyboard.press("Tab")
    check("the first key leads past the map", page.evaluate("document.activeElement.className") == "skip")
    page.fill("#filter", "middle")
    check("the table is filtered", page.locator("#rows tr").count() == 1)
    page.fill("#filter", "")
    page.get_by_role("button", name="Books/s").click()
    check("the table is sorted", page.locator("th[aria-sort=descending]").count() == 1)
    page.locator("#rows").get_by_role("button", name="inbox", exact=True).click()
    page.get_by_role("button", name="Show books").click()
    books, _ = until(lambda: page.locator("#detail-body tbody tr").count() > 0)
    check("a pile shows its books", books)
    check("their contents are not offered without a token", page.get_by_role("button", name="Show books with contents").count() == 0)
    page.keyboard.press("Escape")
    check("nothing is asked from elsewhere", page.foreign == [], page.foreign)
    check("the console has no warnings", page.trouble == [], page.trouble)
    works.stop()
    stale, passed = until(lambda: shows(page, "#stale", "."))
    check("a broken stream is told", stale, f"{passed:.1f} s")
    works.start()
    back, passed = until(lambda: not page.is_visible("#stale"))
    check("the stream comes back by itself", back, f"{passed:.1f} s")
    axe = importlib.resources.files("axe_playwright_python").joinpath("axe.min.js").read_text()
    for dark in (False, True):
        for width in (1280, 375):
            shown = opened(browser, works, dark, (width, 800))
            until(lambda: shows(shown, "#state", "^ready$"))
            shown.context.add_init_script("")
            session = shown.context.new_cdp_session(shown)
            session.send("Page.setBypassCSP", {"enabled": True})
            shown.reload()
            until(lambda: shown.locator("#rows tr").count() > 0)
            shown.evaluate(axe)
            for where in ("page", "details"):
                if where == "details":
                    shown.locator("#rows th button").first.click()
                    until(lambda: shown.locator("#detail-body dd").count() > 3)
                found = [(rule["id"], rule["impact"]) for rule in shown.evaluate("axe.run()")["violations"]]
                check(f"axe finds nothing: {where}, {width} pixels, {'dark' if dark else 'light'}", found == [], found)
            if width == 375:
                wide = shown.evaluate("document.documentElement.scrollWidth")
                check("nothing is wider than a phone", wide <= 375, wide)
            if pictures:
                shown.keyboard.press("Escape")
                shown.screenshot(path=str(Path(pictures) / f"{width}-{'dark' if dark else 'light'}.png"))


def sees_what_fails(check, browser, works):
    page = opened(browser, works)
    until(lambda: shows(page, "#state", "^ready$"))
    dead, _ = until(lambda: shows(page, "#ledger .bad", "dead"))
    check("dead letters stand out in the account", dead)
    page.fill("#dead-text", "no such customer")
    page.locator("#dead-form button").click()
    reason, passed = until(lambda: shows(page, "#dead .reason", "no such customer"))
    check("the reason of a failure is found", reason, f"{passed:.1f} s")
    page.locator("#top").get_by_role("button", name="fire", exact=True).first.click()
    why, passed = until(lambda: shows(page, "#detail-body .reason", "no such customer"))
    check("the node that fails says why", why, f"{passed:.1f} s")


def sees_a_death(check, browser, works):
    page = opened(browser, works)
    until(lambda: shows(page, "#state", "^ready$"))
    exited, passed = until(lambda: shows(page, "#events li.exited", "near/"))
    check("a killed gopher is among the events", exited)
    before = page.locator("#events li.exited").count()
    began = time.monotonic()
    until(lambda: page.locator("#events li.exited").count() > before)
    check("the next death shows within 2 s of its second", time.monotonic() - began < 3)
    restarts, _ = until(lambda: shows(page, "#top", r"Most restarts\s*near"))
    check("its restarts are counted", restarts)


def steers_the_works(check, browser, works):
    page = opened(browser, works)
    until(lambda: shows(page, "#state", "^ready$"))
    rows = page.locator("#rows tr")
    check("nothing is offered to change without the token", page.get_by_role("button", name="Pause near").count() == 0)
    for token in ("another-secret-x", TOKEN):
        page.get_by_role("button", name="Sign in to change nodes").click()
        page.fill("#token", token)
        page.get_by_role("button", name="Sign in", exact=True).click()
        if token != TOKEN:
            wrong, _ = until(lambda: shows(page, "#stale", "not that of"))
            check("a wrong token is told", wrong)
    offered, _ = until(lambda: page.get_by_role("button", name="Pause near").count() == 1)
    check("the token offers what can be changed", offered)
    page.get_by_role("button", name="Pause near").click()
    paused, passed = until(lambda: rows.filter(has_text="near").filter(has_text="paused: by 127.0.0.1").count() == 1)
    check("a paused crew says so in the table", paused, f"{passed:.1f} s")
    check("and on the map", page.locator("#map .box.paused", has_text="near").locator(".kind").text_content().startswith("⏸"))
    check("and among the events", until(lambda: shows(page, "#events li.paused", "near"))[0])
    stops, passed = until(lambda: shows(page, "#map .box.paused", r"near.*paused"))
    check("a paused crew stops", stops and until(lambda: rate_of(page, "near") == 0)[0], f"{passed:.1f} s")
    page.get_by_role("button", name="Resume near").click()
    check("it goes on when resumed", until(lambda: rate_of(page, "near") > 0)[0])
    rows.get_by_role("button", name="Scale near").click()
    page.get_by_label("Gophers", exact=True).fill("4")
    page.get_by_role("button", name="Set", exact=True).click()
    scaled, passed = until(lambda: re.search(r"gophers\s*4\b", page.locator("#detail-body .figures").inner_text()))
    check("a crew gets another size", scaled, f"{passed:.1f} s")
    page.locator("#detail").get_by_role("button", name="Scale near").click()
    page.get_by_label("Gophers", exact=True).fill("0")
    check("a size below 1 is not sent", page.evaluate("document.querySelector('#detail form').checkValidity()") is False)
    page.keyboard.press("Escape")
    kill = rows.get_by_role("button", name="Kill far")
    kill.click()
    check("a kill asks first", kill.inner_text() == "Really kill?")
    kill.click()
    check("a killed crew's gopher is among the events", until(lambda: shows(page, "#events li.exited", "far/1"))[0])
    check("the console has no warnings", page.trouble == [], page.trouble)


def rate_of(page, name):
    """Books per second of a node in the table."""
    return float(page.locator(f"#rows tr[data-name={name}] td[data-head='Books/s']").inner_text().replace(",", ""))


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("binary", nargs="?", default=str(ROOT / "target/debug/gopherworks"))
    arguments.add_argument("--pictures")
    given = arguments.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome") or sys.exit("install Chromium first")
    check = Checks()
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for test, more in [
            (lambda works: sees_the_works(check, browser, works, given.pictures), {}),
            (lambda works: sees_what_fails(check, browser, works), {"command": FAILING}),
            (lambda works: steers_the_works(check, browser, works), {}),
            (lambda works: sees_a_death(check, browser, works), {"faults": KILLS}),
        ]:
            works = Works(given.binary, folder, free_port(), **more)
            try:
                test(works)
            finally:
                works.stop()
        browser.close()
    sys.exit(check.failed > 0)


main()
