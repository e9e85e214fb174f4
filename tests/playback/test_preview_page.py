"""``preview.html`` as a person sees it."""

from __future__ import annotations

from fractions import Fraction

from playwright.sync_api import Page

from include.domain.media.sprites import sprites_of
from tests.titles import Title

WAIT_MS = 30_000


def test_the_preview_page_plays_pins_rungs_and_seeks_by_its_scenes(page: Page, media: str, packaged: Title) -> None:
    page.goto(f"{media}/preview.html")
    page.locator("#strip button").nth(9).wait_for()
    page.evaluate("document.getElementById('video').muted = true")

    page.get_by_role("button", name="240p").click()
    page.evaluate("document.getElementById('video').play()")
    until(page, "document.getElementById('video').videoHeight === 240")
    until(page, "document.querySelector('tr[aria-current=true]')?.dataset.row === 'h264_240p'")
    page.get_by_role("button", name="144p").click()
    page.locator("#strip button").nth(8).click()
    until(page, "document.getElementById('video').currentTime > 11")
    until(page, "document.getElementById('video').videoHeight === 144")

    assert page.get_by_role("button", name="144p").get_attribute("aria-pressed") == "true"
    assert page.locator("#audio button").all_text_contents() == ["English", "Deutsch"]
    assert page.locator("#text button").all_text_contents() == ["Off", "English"]


def test_the_pointer_leads_through_the_pictures_of_all_sheets(page: Page, media: str, packaged: Title) -> None:
    # 300 pictures on three sheets, in ten buttons: thirty in each.
    cues = sprites_of(3000, Fraction(25)).webvtt(3000)
    page.route("**/images/sprite.vtt", lambda route: route.fulfill(body=cues, content_type="text/vtt"))
    sheet = packaged.folder / "images/sprite_001.jpg"
    page.route("**/images/sprite_*.jpg", lambda route: route.fulfill(path=sheet))
    page.goto(f"{media}/preview.html")
    last = page.locator("#strip button").nth(9)
    last.wait_for()
    box = last.bounding_box()
    assert box is not None

    seen = []
    for share in (0.02, 0.98):
        page.mouse.move(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
        seen.append((last.get_attribute("title"), str(last.evaluate("button => button.style.backgroundImage"))))
    page.mouse.move(0, 0)

    assert [title for title, _ in seen] == ["00:45:00", "00:49:50"]
    assert all("images/sprite_003.jpg" in image for _, image in seen)
    assert last.get_attribute("title") == "00:47:30"


def until(page: Page, condition: str) -> None:
    """Wait for ``condition``. The page's policy forbids the evaluation that ``wait_for_function`` polls with."""
    page.evaluate(
        f"""() => new Promise((resolve, reject) => {{
            const end = performance.now() + {WAIT_MS};
            const poll = () => {{
                if ({condition}) resolve();
                else if (performance.now() > end) reject(new Error({condition!r}));
                else requestAnimationFrame(poll);
            }};
            poll();
        }})"""
    )


def test_the_title_s_name_is_text_and_never_markup(page: Page, media: str) -> None:
    page.goto(f"{media}/preview.html")

    assert page.locator("h1").text_content() == 'Night & <b onclick="x">Day</b>'
    assert page.locator("h1 b").count() == 0


def test_the_table_shows_what_was_measured(page: Page, media: str, packaged: Title) -> None:
    page.goto(f"{media}/preview.html")

    rows = page.locator("tr[data-row]")
    assert [rows.nth(index).get_attribute("data-row") for index in range(rows.count())] == [
        "vp9_240p",
        "h264_240p",
        "vp9_144p",
        "h264_144p",
    ]
    assert all("not measured" not in text for text in rows.all_text_contents())


def test_every_address_of_the_page_is_relative_and_there(page: Page, media: str, packaged: Title) -> None:
    page.goto(f"{media}/preview.html")
    addresses = page.evaluate(
        "[...document.querySelectorAll('[src],[href],[poster]')].flatMap(e => "
        "['src', 'href', 'poster'].map(name => e.getAttribute(name)).filter(Boolean))"
    )

    assert addresses
    # The player has put in the blob it plays from, and empty tracks.
    for address in (each for each in addresses if not each.startswith(("blob:", "data:,WEBVTT"))):
        assert ":" not in address
        assert (packaged.folder / address).is_file(), address
