"""The page in a real headless Chromium: typed, heard, highlighted, refused, cloned, in both languages.

Needs a Chromium of the system (``apt-get install chromium``) and ``pip install playwright``; no browser is downloaded.
"""

from __future__ import annotations

import io
import os
import shutil
import wave
from pathlib import Path

import numpy as np
import pytest

from server.facade_double import SineFacade
from server.live import live_server, wait_until

pytestmark = pytest.mark.browser
TEXT = "The first sentence is read. Then comes the second one. And the third."


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="the page is tested with playwright")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium on this machine")
    arguments = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
    with api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=arguments)
        yield running
        running.close()


@pytest.fixture
def facade():
    return SineFacade(step_seconds=0.02)


@pytest.fixture
def page(browser, facade):
    with live_server(facade, slots=1, queue=0) as server:
        context = browser.new_context(locale="en-GB", viewport={"width": 1100, "height": 1000})
        made = context.new_page()
        problems = []
        made.on("pageerror", lambda error: problems.append(str(error)))
        made.on("console", lambda line: problems.append(line.text) if "Content Security" in line.text else None)
        made.goto(server.url + "/")
        made.wait_for_selector("#state[data-good=true]")
        made.wait_for_selector("#voice option[value=bo]", state="attached")
        made.server = server
        yield made
        context.close()
        assert problems == []


def picture(page, name):
    folder = os.environ.get("CHATTTS_TEST_PICTURES")
    if folder:
        page.screenshot(path=str(Path(folder) / name), full_page=True)


def until(page, expression):
    """Wait for a condition; the page's policy forbids the ``eval`` that Playwright's own waiting needs."""
    wait_until(lambda: page.evaluate(expression), 20)


def figure(page, name):
    return float(page.get_attribute("#wave", f"data-{name}"))


def test_text_is_typed_and_heard_while_it_is_made(page, facade):
    page.fill("#text", TEXT)
    page.select_option("#voice", "bo")
    page.click("#speak")
    until(page, "Number(document.querySelector('#wave').dataset.heard) > 0.1")
    assert page.get_attribute("#wave", "data-complete") in ("false", "true")
    page.wait_for_selector("#reading span[aria-current=true]")
    picture(page, "speaking.png")
    until(page, "document.querySelector('#wave').dataset.complete === 'true'")
    assert figure(page, "seconds") == pytest.approx(1.5)
    assert 0.1 < figure(page, "heard") <= 0.35
    assert page.locator("#reading").inner_text() == TEXT
    assert page.locator("#reading span").count() == 3
    assert float(page.locator("#ttfa").inner_text().split()[0]) < 2
    assert float(page.locator("#rtf").inner_text()) > 0
    assert facade.seen[-1][2]["voice"] == "bo"
    until(page, "document.querySelector('#stop').disabled")
    assert page.locator("#reading span[aria-current=true]").count() == 0
    assert "1.5" in page.get_attribute("#wave", "aria-label")


def test_each_segment_is_marked_in_turn(page, facade):
    facade.chunks_per_segment = 8
    page.fill("#text", TEXT)
    page.evaluate(
        """() => { window.marked = new Set(); new MutationObserver(() => {
            const now = document.querySelector('#reading span[aria-current=true]');
            if (now) window.marked.add(now.dataset.index);
        }).observe(document.querySelector('#reading'), {subtree: true, attributes: true, childList: true}); }"""
    )
    page.click("#speak")
    until(page, "document.querySelector('#stop').disabled && document.querySelector('#wave').dataset.complete")
    until(page, "window.marked.size === 3")


def test_downloads_hold_the_speech_that_was_heard(page):
    page.fill("#text", "Short one.")
    page.click("#speak")
    until(page, "!document.querySelector('#download').disabled")
    with page.expect_download() as caught:
        page.click("#download")
    with wave.open(str(caught.value.path())) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        assert file.getframerate() == 24000
    assert len(samples) == 12000
    assert np.abs(samples).max() > 9000
    page.select_option("#format", "mp3")
    with page.expect_download() as caught:
        page.click("#download")
    assert caught.value.suggested_filename == "speech.mp3"
    assert Path(caught.value.path()).read_bytes()[0] == 0xFF


def test_a_full_server_is_said_so_with_a_time(page, facade):
    facade.held.set()
    with page.server.raw({"input": "Busy.", "response_format": "pcm"}):
        wait_until(lambda: page.server.context.admission.full)
        page.fill("#text", TEXT)
        page.click("#speak")
        page.wait_for_selector("#error:not([hidden])")
        assert page.locator("#error").inner_text() == "The server is full. Try again in 1 s."
        assert page.get_attribute("#error", "role") == "alert"
        assert page.locator("#speak").is_enabled()
        picture(page, "full.png")
    facade.held.clear()
    page.server.wait_idle()
    page.click("#speak")
    until(page, "document.querySelector('#wave').dataset.complete === 'true'")
    assert page.locator("#error").is_hidden()


def test_stop_aborts_on_the_server(page, facade):
    facade.chunks_per_segment = 1000
    page.fill("#text", TEXT)
    page.click("#speak")
    until(page, "Number(document.querySelector('#wave').dataset.heard) > 0.1")
    page.click("#stop")
    wait_until(lambda: facade.running == 0)
    assert facade.aborted == 1


def test_what_breaks_in_the_middle_is_said(page):
    page.fill("#text", "The poison.")
    page.click("#speak")
    page.wait_for_selector("#error:not([hidden])")
    assert "failed" in page.locator("#error").inner_text()


def test_history_stays_in_the_browser_and_comes_back(page, facade):
    page.fill("#text", "Remember me.")
    page.click("#speak")
    page.wait_for_selector("#history li")
    page.reload()
    page.fill("#text", "")
    page.click("#history li button >> nth=0")
    assert page.input_value("#text") == "Remember me."
    assert page.input_value("#seed") == str(facade.seen[-1][2]["seed"])
    page.click("#history li button >> nth=1")
    assert page.locator("#history li").count() == 0


def test_copies_run_as_they_are(page, browser):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.fill("#text", 'It\'s "quoted".')
    page.click("#python")
    code = page.evaluate("navigator.clipboard.readText()")
    compile(code, "copied", "exec")
    assert page.server.url in code
    page.click("#curl")
    assert "'\\''" in page.evaluate("navigator.clipboard.readText()")


def test_a_clip_becomes_a_voice(page, facade, tmp_path):
    clip = io.BytesIO()
    with wave.open(clip, "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(np.zeros(32000, "<i2").tobytes())
    (tmp_path / "clip.wav").write_bytes(clip.getvalue())
    page.click("#clone-title")
    page.set_input_files("#clip", str(tmp_path / "clip.wav"))
    page.fill("#name", "my-voice")
    page.fill("#transcript", "what I say")
    page.click("#upload")
    assert "my-voice" not in facade.voices.names  # consent is required
    page.check("#consent")
    page.click("#upload")
    page.wait_for_selector("#voice option[value=my-voice]", state="attached")
    assert page.input_value("#voice") == "my-voice"


def test_keyboard_alone_is_enough(page):
    page.focus("#text")
    page.keyboard.press("Control+A")
    page.keyboard.type("From the keyboard.")
    page.keyboard.press("Control+Enter")
    until(page, "document.querySelector('#wave').dataset.complete === 'true'")
    names = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, textarea")]
            .filter((node) => node.checkVisibility())
            .filter((node) => !(node.labels && node.labels.length) && !node.textContent.trim() && !node.ariaLabel)
            .map((node) => node.id)"""
    )
    assert names == []


def test_mandarin_and_a_phone(page):
    page.click("#tongue")
    assert page.locator("#speak").inner_text() == "朗读"
    assert page.evaluate("document.documentElement.lang") == "zh"
    page.set_viewport_size({"width": 360, "height": 740})
    page.fill("#text", "你好，世界。今天天气很好！")
    page.click("#speak")
    until(page, "document.querySelector('#wave').dataset.complete === 'true'")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    picture(page, "phone.png")
    page.reload()
    assert page.locator("#speak").inner_text() == "朗读"
