"""A headless Chromium from the system's packages, and what tests do with it."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import shutil
import time

import pytest

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
WITHOUT = "no browser: chromium and chromedriver are not on the PATH (Debian: apt-get install chromium chromium-driver)"
# A file of these bytes, of this name, as a drop or a paste brings it.
TRANSFER = """
    const [content, name] = arguments;
    const bytes = Uint8Array.from(atob(content), (one) => one.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], name, {type: "image/png"}));
"""
DROP = """
    for (const kind of ["dragover", "drop"]) {
      document.body.dispatchEvent(new DragEvent(kind, {dataTransfer: transfer, bubbles: true, cancelable: true}));
    }
"""
PASTE = """
    document.body.dispatchEvent(new ClipboardEvent("paste", {clipboardData: transfer, bubbles: true}));
"""


class Page:
    """The page of a gateway in a browser."""

    def __init__(self, driver, url):
        self.driver = driver
        self.url = url

    def open(self, width=1280, height=900, **features):
        """The page, fresh, in a window of this size; `features` of media as in prefers_color_scheme="dark"."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        media = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
        self.driver.get(self.url)
        self.driver.get_log("browser")
        return self

    def choose(self, path):
        self.one("#file").send_keys(str(path))
        return self.outcome()

    def drop(self, content, name="page.png"):
        self.run(TRANSFER + DROP, base64.b64encode(content).decode(), name)
        return self.outcome()

    def paste(self, content, name="page.png"):
        self.run(TRANSFER + PASTE, base64.b64encode(content).decode(), name)
        return self.outcome()

    def outcome(self):
        """What is said at the end, by the status or the alert."""
        for _ in range(600):
            is_done = not self.run("return document.body.classList.contains('working')")
            said = self.one("#status").text + self.one("#error").text
            if is_done and said:
                return said
            time.sleep(0.05)
        raise AssertionError("the page still works")

    def lines(self):
        return [one.text for one in self.all("#lines li")]

    def press(self, *keys):
        from selenium.webdriver import ActionChains

        for key in keys:
            ActionChains(self.driver).send_keys(key).perform()

    def focused(self):
        return self.run("return document.activeElement.id")

    def one(self, selector):
        return self.driver.find_element("css selector", selector)

    def all(self, selector):
        return self.driver.find_elements("css selector", selector)

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def complaints(self):
        """What the console has: errors of the script, of the policy, and of what could not be loaded."""
        return [one["message"] for one in self.driver.get_log("browser")]

    def style(self, selector, name, pseudo=None):
        script = "return getComputedStyle(document.querySelector(arguments[0]), arguments[1])[arguments[2]]"
        return self.run(script, selector, pseudo, name)


@contextlib.contextmanager
def browsing(url, downloads):
    """The page of the gateway at `url`; what it saves lies in the folder `downloads`."""
    webdriver = pytest.importorskip("selenium.webdriver")
    from selenium.webdriver.chrome.service import Service

    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip(WITHOUT)
    options = webdriver.ChromeOptions()
    options.binary_location = program
    # Root has no sandbox, and /dev/shm of a container is small.
    for word in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "no-proxy-server", "hide-scrollbars"):
        options.add_argument(f"--{word}")
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(options=options, service=Service(driver))
    try:
        permissions = {"origin": url, "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
        opened.execute_cdp_cmd("Browser.grantPermissions", permissions)
        yield Page(opened, url)
    finally:
        opened.quit()


def contrast(one, other):
    """The contrast of two colours as WCAG 2 has it, from 1 to 21; of rgb(r, g, b) as styles are computed to."""
    light, dark = sorted(map(luminance, (one, other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour):
    parts = [int(part) / 255 for part in re.fullmatch(r"rgb\((\d+), (\d+), (\d+)\)", colour).groups()]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def downloaded(folder, name):
    """The JSON of a file that the page has saved."""
    path = folder / name
    for _ in range(100):
        if path.exists():
            return json.loads(path.read_text(encoding="utf-8"))
        time.sleep(0.05)
    raise AssertionError(f"{name}: not saved")
