"""The gateway of the examples: real HTTP requests to a process of its own, with files in it and in front of servers."""

from __future__ import annotations

import importlib
import io
import json
import re
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.support import gateway as support
from tests.support.browser import browsing, contrast, downloaded, luminance
from tests.support.model_server import serving_grpc, serving_rest

pytest.importorskip("flask")
Image = pytest.importorskip("PIL.Image")
PAGES = support.ROOT / "examples" / "ctpn"
RECEIPT = (PAGES / "images" / "receipt.png").read_bytes()


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """The base directory of the trained detector and recogniser in one model. Not to be written to."""
    from click.testing import CliRunner

    from ckpt2saved.cli import main

    base = tmp_path_factory.mktemp("models") / "ocr"
    examples = support.ROOT / "examples"
    words = ["export", "-q", "-m", "ocr", "-o", base, "--no-parity", "--no-warmup"]
    words += [
        "-c",
        f"detector={examples / 'ctpn' / 'checkpoint'}",
        "-c",
        f"recogniser={examples / 'crnn' / 'checkpoint'}",
    ]
    words += ["--option", f"charset={examples / 'crnn' / 'charset.txt'}"]
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return base


@pytest.fixture(scope="module")
def gateway(base):
    """In front of files that its own process runs."""
    with support.running(base, "--mode", "parts") as gateway:
        yield gateway


@pytest.fixture
def server(base):
    with serving_rest(base, "ocr") as server:
        yield server


def address(server):
    return f"{server.url}/v1/models/{server.name}"


def truth(name):
    """The texts of a sample page."""
    pages = json.loads((PAGES / "pages.json").read_text(encoding="utf-8"))
    (page,) = [page for page in pages if page["picture"] == f"images/{name}.png"]
    return [line["text"] for line in page["lines"]]


def texts(answer):
    return [line["text"].strip() for line in answer["lines"]]


def changed(mode=None, size=None, **options):
    """The receipt in another form."""
    picture, written = Image.open(io.BytesIO(RECEIPT)), io.BytesIO()
    picture = picture.convert(mode) if mode else picture
    (picture.resize(size) if size else picture).save(written, **options)
    return written.getvalue()


def test_a_page_becomes_its_lines(gateway):
    """Nine of ten texts are right, each with its corners in the pixels of the picture and the scores of both networks."""
    code, answer = gateway.read(RECEIPT)
    assert (code, answer["status"], answer["width"], answer["height"]) == (200, 0, 600, 640)
    assert len(set(texts(answer)) & set(truth("receipt"))) >= 0.9 * len(truth("receipt"))
    for line in answer["lines"]:
        assert set(line) == {"text", "score", "text_score", "quad"}
        assert 0.9 < line["score"] <= 1 and line["text_score"] <= 0
        x, y = line["quad"][::2], line["quad"][1::2]
        assert min(x) >= 0 and max(x) <= 600 and min(y) >= 0 and max(y) <= 640 and x[0] < x[1] and y[0] < y[3]


def test_columns_are_read_one_after_the_other(gateway):
    """A detector has the surest line first, which is no text to copy."""
    _, answer = gateway.read((PAGES / "images" / "columns.png").read_bytes())
    lefts = [line["quad"][0] > 300 for line in answer["lines"]]
    assert len(lefts) > 50 and sorted(lefts) == lefts
    tops = [line["quad"][1] for line in answer["lines"] if line["quad"][0] < 300]
    assert sorted(tops) == tops


def test_a_blank_page_has_no_lines(gateway):
    code, answer = gateway.read((PAGES / "images" / "blank.png").read_bytes())
    assert (code, answer["lines"]) == (200, [])


def test_a_form_is_read_as_the_bytes_are(gateway):
    content_type, body = support.form([("page.png", RECEIPT)])
    assert gateway.read(body, content_type) == gateway.read(RECEIPT)
    # As `curl --data-binary` sends it.
    assert gateway.read(RECEIPT, "application/x-www-form-urlencoded") == gateway.read(RECEIPT)


@pytest.mark.parametrize("options", [{"format": "WEBP", "lossless": True}, {"format": "TIFF"}, {"format": "BMP"}])
def test_formats_that_the_models_lack_are_converted(gateway, options):
    if options["format"] == "WEBP" and not importlib.import_module("PIL.features").check("webp"):
        pytest.skip("this Pillow has no WebP")
    assert gateway.read(changed(**options)) == gateway.read(RECEIPT)


def test_a_photograph_is_turned_upright(gateway):
    """Phones save the pixels as the sensor has them, and write into EXIF how to turn them."""
    lying, written = Image.open(io.BytesIO(RECEIPT)).convert("RGB").rotate(90, expand=True), io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    lying.save(written, format="JPEG", quality=95, exif=exif)
    code, answer = gateway.read(written.getvalue())
    assert (code, answer["width"], answer["height"]) == (200, 600, 640)
    assert len(set(texts(answer)) & set(truth("receipt"))) >= 0.8 * len(truth("receipt"))


def huge():
    """A small file with more pixels than are read."""
    written = io.BytesIO()
    Image.new("1", (8200, 8200)).save(written, format="PNG")
    return written.getvalue()


REFUSED = [
    (lambda: b"", 400, "no bytes; send a picture as the body, or as a file of a form", 1),
    (lambda: b"%PDF-1.4", 400, "8 bytes that are not a picture, or a damaged one; send a PNG, JPEG, GIF", 4),
    (lambda: RECEIPT[:3000], 400, "the model can't read this picture: damaged; send another one, as PNG or JPEG", 4),
    (lambda: changed(format="TIFF")[:3000], 400, "3000 bytes that are not a picture, or a damaged one; send a PNG", 4),
    (huge, 413, "8200 x 8200 pixels, and at most 67108864 are read; send a smaller picture", 3),
    (lambda: b"x" * (33 << 20), 413, "34603008 bytes; at most 32 MiB are read: send a smaller picture", None),
]


@pytest.mark.parametrize("body,code,message,status", REFUSED)
def test_what_cannot_be_read_is_said(gateway, body, code, message, status):
    """As JSON, with what was found and what to do."""
    found, answer = gateway.read(body())
    assert found == code and answer["error"].startswith(message)
    assert answer.get("status") == status


def test_other_mistakes_of_clients_are_answered_as_json(gateway):
    empty, two = support.form([]), support.form([("a", RECEIPT), ("b", RECEIPT)])
    assert gateway.read(empty[1], empty[0]) == (
        400,
        {"error": "a form with 0 files; expected one, as in curl -F picture=@page.png"},
    )
    assert gateway.read(two[1], two[0])[1]["error"].startswith("a form with 2 files; expected one")
    assert gateway.read(iter([RECEIPT])) == (411, {"error": "a body in chunks; send it with its Content-Length"})
    assert gateway.ask("/read")[0] == 405 and gateway.ask("/nowhere")[0] == 404
    assert "Traceback" not in gateway.log()


def test_a_server_answers_as_the_files_do(gateway, server):
    """Over REST, with batching: a server refuses more than 32 lines in a request, and the page has more."""
    page = (PAGES / "images" / "columns.png").read_bytes()
    server.batching = True
    with support.running(address(server), "--mode", "parts") as other:
        assert other.ask("/healthz") == (200, {"status": "ok"})
        assert same(other.read(page), gateway.read(page))
        assert max(server.batches.lines) == 32


def test_the_detector_and_the_recogniser_can_be_two_models(base, gateway, server):
    with serving_rest(base, "crnn") as recogniser:
        with support.running(address(server), "--mode", "parts", "--recogniser", address(recogniser)) as other:
            assert same(other.read(RECEIPT), gateway.read(RECEIPT))
        for one, asked in ((server, "ocr"), (recogniser, "crnn")):
            assert one.asked.count(f"/v1/models/{asked}:predict") == 1


@pytest.mark.parametrize("name", ["receipt", "rotated", "blank"])
def test_one_request_for_the_page_answers_as_the_parts_do(gateway, server, name):
    """What the gateway does between two networks is what the signature `page` does in the graph."""
    page = (PAGES / "images" / f"{name}.png").read_bytes()
    with support.running(address(server)) as other:
        assert same(other.read(page), gateway.read(page))
    assert server.asked.count("/v1/models/ocr:predict") == 1


def same(one, other):
    """Equal texts and statuses; numbers as near as two runs are."""
    lines = [answer.pop("lines") for _, answer in (one, other)]
    assert one == other and len(lines[0]) == len(lines[1])
    for left, right in zip(*lines):
        assert left["text"] == right["text"]
        np.testing.assert_allclose(left["quad"], right["quad"], atol=0.11)
        np.testing.assert_allclose(left["score"], right["score"], atol=2e-4)
        np.testing.assert_allclose(left["text_score"], right["text_score"], atol=2e-3)
    return True


def test_a_body_that_is_too_large_is_answered_by_gunicorn_too():
    """It ends a connection whose body was not read, and the client would see that in place of the answer."""
    pytest.importorskip("gunicorn")
    with support.gunicorn("create_app('http://127.0.0.1:1/v1/models/m')", 1) as gateway:
        for size in (33 << 20, 70 << 20):
            code, answer = gateway.read(b"x" * size)
            assert (code, answer["error"]) == (413, f"{size} bytes; at most 32 MiB are read: send a smaller picture")


def test_several_workers_in_front_of_grpc(base, gateway):
    """Two processes with threads, eight clients at once: everyone gets the own page."""
    pytest.importorskip("gunicorn")
    pytest.importorskip("grpc")
    pytest.importorskip("tensorflow_serving.apis.predict_pb2")
    names = ("receipt", "rotated")
    pages = [(PAGES / "images" / f"{name}.png").read_bytes() for name in names]
    expected = [texts(gateway.read(page)[1]) for page in pages]
    with serving_grpc(base, "ocr") as server:
        with support.gunicorn(f"create_app('{address(server)}', 'parts')") as workers:
            answers = support.at_once(8, lambda number: workers.read(pages[number % 2]))
    assert [code for code, _ in answers] == [200] * 8
    assert [texts(answer) for _, answer in answers] == expected * 4


def test_a_server_that_is_gone_is_a_bad_gateway(server):
    """The reason is that of the client, and names the address; the gateway goes on."""
    with support.running(address(server)) as gateway:
        server.busy = 9  # more than the retries
        code, answer = gateway.read(RECEIPT)
        assert code == 502 and address(server) in answer["error"] and "queue" in answer["error"]
        server.busy = 0
        server.lists = [(1, "LOADING")]
        code, answer = gateway.ask("/healthz")
        assert (code, answer["error"]) == (503, f"{address(server)}: no version is AVAILABLE: ['LOADING']")
        server.lists = None
        assert gateway.read(RECEIPT)[0] == 200
        assert "Traceback" not in gateway.log()


def test_a_model_without_the_signature_is_a_bad_gateway(exported_crnn):
    with serving_rest(exported_crnn.parent, "crnn") as server, support.running(address(server)) as gateway:
        code, answer = gateway.read(RECEIPT)
    assert code == 502 and "there is no signature page; expected one of" in answer["error"]


@pytest.mark.parametrize(
    "words,message",
    [
        (["/nowhere"], "gateway: /nowhere"),
        (["http://localhost:8501"], "gateway: http://localhost:8501: a server may have several models; pass"),
        (["http://h:1/v1/models/m", "--recogniser", "http://h:1/v1/models/n"], "gateway: mode page: expected page or"),
    ],
)
def test_a_wrong_start_is_said_in_a_line(words, message):
    command = [sys.executable, str(support.FOLDER / "gateway.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, env=support.ENVIRONMENT)
    assert done.returncode == 1 and done.stderr.startswith(message), done.stderr
    assert "Traceback" not in done.stderr


def test_the_benchmark_prints_a_table(server, tmp_path):
    """Requests per second, median and 99th percentile of the model alone and of the gateway in both modes."""
    pytest.importorskip("gunicorn")
    (tmp_path / "page.png").write_bytes(RECEIPT)
    command = [sys.executable, str(support.FOLDER / "bench.py"), address(server), "--pages", str(tmp_path)]
    command += ["--clients", "1", "2", "--seconds", "0.1", "--workers", "1"]
    done = subprocess.run(command, capture_output=True, env=support.ENVIRONMENT)
    assert done.returncode == 0, done.stderr.decode()
    head, *rows = done.stdout.decode().splitlines()
    assert head.count(" | ") == 4 and [row.split(" | ")[0] for row in rows] == ["1", "2"]
    for row in rows:
        assert all(re.fullmatch(r"\d+\.\d/s, \d+, \d+ ms", cell) for cell in row.split(" | ")[1:])


def test_the_gateway_is_short_and_the_page_asks_nobody_else():
    assert len((support.FOLDER / "gateway.py").read_text().splitlines()) <= 150
    for path in (support.FOLDER / "static").iterdir():
        addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\"' ]*", path.read_text(encoding="utf-8")))
        assert addresses <= {"http://www.w3.org/2000/svg"}, path


@pytest.fixture(scope="module")
def page(gateway, tmp_path_factory):
    """The page in a real browser, in one window for all tests."""
    downloads = tmp_path_factory.mktemp("downloads")
    with browsing(gateway.url, downloads) as page:
        page.downloads = downloads
        yield page


def path_of(name):
    return PAGES / "images" / f"{name}.png"


def test_a_dropped_page_is_read(page, gateway):
    """Each line is in the list, and its box and text are drawn on its place."""
    page.open()
    assert page.one("#result").is_displayed() is False
    assert re.fullmatch(r"13 lines read in [\d.]+ s\.", page.drop(RECEIPT))
    answer = gateway.read(RECEIPT)[1]
    assert page.lines() == texts(answer) == [one.text for one in page.all("#boxes text")]
    shown = page.run(
        "const box = document.getElementById('picture').getBoundingClientRect(); return [box.x, box.y, box.width]"
    )
    for line, box in zip(answer["lines"], page.all("#boxes .box")):
        scale = shown[2] / answer["width"]
        rect = page.run("const box = arguments[0].getBoundingClientRect(); return [box.x, box.y]", box)
        assert abs(rect[0] - shown[0] - min(line["quad"][::2]) * scale) < 4
        assert abs(rect[1] - shown[1] - min(line["quad"][1::2]) * scale) < 4
    assert page.complaints() == []


def test_a_pasted_and_a_chosen_page_are_read_too(page):
    page.open()
    assert "lines read" in page.paste(RECEIPT)
    pasted = page.lines()
    assert "lines read" in page.choose(path_of("rotated"))
    assert page.lines() != pasted and len(page.all("#boxes g")) == len(page.lines()) == 12
    assert page.one("#picture").get_attribute("alt") == "rotated.png, 560 by 642 pixels"
    page.one("#show-text").click()
    assert not any(one.is_displayed() for one in page.all("#boxes text")[:1])


def test_the_keyboard_is_enough(page, gateway):
    """Tab reaches everything in order with a visible focus, arrows move along the lines, Enter copies and saves."""
    from selenium.webdriver.common.keys import Keys

    page.open()
    page.press(Keys.TAB)
    assert page.focused() == "file" and page.style("#file + label", "outlineStyle") == "solid"
    assert "lines read" in page.choose(path_of("receipt"))
    page.press(Keys.TAB)
    assert page.focused() == "show-text"
    page.press(Keys.SPACE)
    assert not page.one("#show-text").is_selected()
    page.press(Keys.TAB, Keys.ENTER)
    assert page.focused() == "copy" and page.style("#copy", "outlineStyle") == "solid"
    assert page.outcome() == "Text copied."
    copied = page.driver.execute_async_script("navigator.clipboard.readText().then(arguments[0])")
    assert copied.splitlines() == page.lines()
    page.press(Keys.TAB, Keys.ENTER)
    assert page.focused() == "download" and page.outcome() == "receipt.json downloaded."
    assert downloaded(page.downloads, "receipt.json") == gateway.read(RECEIPT)[1]
    page.press(Keys.TAB, Keys.ARROW_DOWN, Keys.ARROW_DOWN)
    assert page.focused() == "lines"
    assert [one.get_attribute("id") for one in page.all("#lines [aria-selected=true]")] == ["line-1"]
    assert page.one("#lines").get_attribute("aria-activedescendant") == "line-1"
    assert page.run("return [...document.querySelectorAll('#boxes g')].findIndex((one) => one.matches('.chosen'))") == 1
    page.press(Keys.END)
    assert page.one("#lines [aria-selected=true]").text == page.lines()[-1]


def test_screen_readers_get_names_roles_and_news(page):
    page.open()
    page.choose(path_of("receipt"))
    assert page.run("return document.documentElement.lang") == "en" and page.driver.title == "Read a page"
    names = {one.get_attribute("id"): one.accessible_name for one in page.all("input, button, [tabindex]")}
    assert names == {
        "file": "Choose a picture",
        "show-text": "Text on the picture",
        "copy": "Copy text",
        "download": "Download JSON",
        "lines": "Text",
    }
    roles = {name: page.one(f"#{name}").aria_role for name in ("status", "error", "lines", "line-0")}
    assert roles == {"status": "status", "error": "alert", "lines": "listbox", "line-0": "option"}
    assert page.one("#boxes").get_attribute("aria-hidden") == "true"  # its text is in the list


@pytest.mark.parametrize("width", [360, 700, 1280])
def test_every_width_holds_the_page(page, width):
    """Nothing to scroll sideways to, and what is tapped is at least 44 pixels high."""
    page.open(width)
    assert page.run("return document.documentElement.scrollWidth") <= width
    assert "59 lines read" in page.choose(path_of("columns"))
    assert page.run("return document.documentElement.scrollWidth") <= width
    assert 0.4 * width < page.one("#picture").size["width"] <= width
    for selector in (".main-button", "#copy", "#download"):
        assert page.one(selector).size["height"] >= 44
    side_by_side = page.one("#text-part").location["x"] > page.one("#page-part").location["x"]
    assert side_by_side == (width == 1280)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_both_themes_have_contrast(page, theme):
    """4.5 for text and 3 for edges and focus (WCAG 2 AA)."""
    page.open(prefers_color_scheme=theme)
    page.choose(path_of("receipt"))
    page.one("#lines li").click()
    body = page.style("body", "backgroundColor")
    assert (luminance(body) < 0.5) == (theme == "dark")
    surface = page.style("#drop", "backgroundColor")
    for selector, ground in (
        ("h1", body),
        ("#status", body),
        ("#keys", body),
        ("#hint", surface),
        (".main-button", page.style(".main-button", "backgroundColor")),
        ("#copy", page.style("#copy", "backgroundColor")),
        ("#lines li[aria-selected=true]", page.style("#lines li[aria-selected=true]", "backgroundColor")),
    ):
        assert contrast(page.style(selector, "color"), ground) >= 4.5, selector
    for name, ground in (("#drop", body), ("#copy", surface)):
        assert contrast(page.style(name, "borderTopColor"), ground) >= 3, name
    assert contrast(page.style(".main-button", "backgroundColor"), surface) >= 3  # also the colour of the focus
    page.drop(b"no picture")
    assert contrast(page.style("#error", "color"), page.style("#error", "backgroundColor")) >= 4.5


def test_who_wants_no_motion_gets_none(page):
    for wish, animation in (("no-preference", "turn"), ("reduce", "none")):
        page.open(prefers_reduced_motion=wish)
        page.run("document.body.classList.add('working')")
        assert page.style("#status", "animationName", "::before") == animation


def test_a_page_without_text_is_no_error(page):
    page.open()
    assert page.choose(path_of("blank")).startswith("No text was found in this picture")
    assert page.one("#picture").is_displayed() and not page.one("#text-part").is_displayed()
    assert page.one("#error").text == ""


def test_errors_are_said_and_the_next_page_is_read(page):
    """What is not a picture, what is too large, and a gateway that is gone; nothing of an earlier page stays."""
    page.open()
    page.choose(path_of("receipt"))
    assert page.drop(b"%PDF-1.4", "scan.pdf").startswith("scan.pdf: 8 bytes that are not a picture, or a damaged one;")
    assert not page.one("#result").is_displayed() and page.one("#status").text == ""
    page.run(
        "document.dispatchEvent(Object.assign(new Event('drop', {cancelable: true}), {dataTransfer: {files: [new File([new Uint8Array(33 * 1048576)], 'large.png')]}}))"
    )
    assert page.outcome() == "large.png has 33 MB, and at most 32 MB are read. Send a smaller picture."
    conditions = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    page.driver.execute_cdp_cmd("Network.enable", {})
    page.driver.execute_cdp_cmd("Network.emulateNetworkConditions", dict(conditions, offline=True))
    try:
        assert "cannot be reached. Check that it runs" in page.drop(RECEIPT)
    finally:
        page.driver.execute_cdp_cmd("Network.emulateNetworkConditions", dict(conditions, offline=False))
    assert "13 lines read" in page.drop(RECEIPT)
    assert page.one("#error").text == "" and len(page.lines()) == 13


def test_the_last_of_two_pictures_stays(page):
    """The answer for an earlier picture that comes late is dropped."""
    page.open()
    page.run(
        "window.real = fetch; window.fetch = (...all) => new Promise((done) => setTimeout(() => done(real(...all)), 700))"
    )
    page.one("#file").send_keys(str(path_of("columns")))
    assert page.one("#status").text == "Reading columns.png …" and page.one("#picture").is_displayed()
    page.run("window.fetch = real")
    assert "13 lines read" in page.choose(path_of("receipt"))
    time.sleep(1.2)
    assert len(page.lines()) == 13 and "13 lines read" in page.one("#status").text
