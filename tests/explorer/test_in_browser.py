"""The page in headless Chromium, as somebody uses it, from a file and without a network."""

import re
import shutil
import time

import explorer_files
import numpy as np
import pytest
from matplotlib.path import Path as Polygon

from apogaia.explorer.page import notes, write_page
from apogaia.explorer.spectra import EmbeddedSpectra
from apogaia.explorer.table import read_table
from apogaia.survey import load_survey

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
if BROWSER is None or DRIVER is None:
    pytest.skip("chromium and chromedriver are not here: apt-get install chromium-driver", allow_module_level=True)

MAPS = load_survey("smoke").maps
EMBEDDED, OTHER = 8, 20  # rows of a star with a spectrum in the page, and of one without
OPTIONS = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--window-size=1400,1300")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explorer")
    parameters = explorer_files.write_parameters(folder)
    return read_table(explorer_files.write_catalogue(folder), MAPS, parameters)


@pytest.fixture(scope="module")
def browser(tmp_path_factory, table):
    path = tmp_path_factory.mktemp("page of größe") / "explorer.html"
    flux = explorer_files.spectra()[[EMBEDDED]]
    spectra = EmbeddedSpectra(np.array([EMBEDDED]), flux, flux - 1, "m.keras")
    options = {"title": "test", "simulated": True, "notes": notes(table, spectra, MAPS)}
    write_page(path, table, spectra, MAPS, command="apogaia explore mine.fits", **options)
    chosen = webdriver.ChromeOptions()
    chosen.binary_location = BROWSER
    for option in (*OPTIONS, "--host-resolver-rules=MAP * ~NOTFOUND"):
        chosen.add_argument(option)
    chosen.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=chosen, service=webdriver.ChromeService(DRIVER))
    try:
        driver.get(path.as_uri())
        until(lambda: driver.execute_script("return document.body.dataset.ready") == "yes")
        yield driver
    finally:
        driver.quit()


@pytest.fixture(autouse=True)
def _no_error_in_the_console(browser):
    browser.execute_script("explorer.select([])")
    yield
    assert [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def until(fulfilled, seconds: float = 20.0):
    """Wait until something is fulfilled, and return it."""
    end = time.monotonic() + seconds
    while not (found := fulfilled()):
        assert time.monotonic() < end, "nothing came of it"
        time.sleep(0.05)
    return found


def text(browser, name: str) -> str:
    return browser.execute_script(f"return document.getElementById('{name}').innerText")


def image_of(browser, figure: str) -> int:
    """A sum over the pixels that are drawn of a figure's stars."""
    return browser.execute_script(
        f"const image = explorer.models.{figure}_image.data.image[0];"
        "return image.reduce((sum, one, i) => (sum + one * (i % 7 + 1)) % 1e9, 0);"
    )


def ranges_of(browser, figure: str) -> list[float]:
    """First and last x, first and last y of a figure's axes."""
    axes = f"const {{x_range, y_range}} = explorer.models.{figure};"
    return browser.execute_script(f"{axes} return [x_range.start, x_range.end, y_range.start, y_range.end];")


def in_frame(browser, figure: str, x, y):
    """Places in a figure as shares of its frame, from the upper left corner."""
    left, right, low, high = ranges_of(browser, figure)
    return (np.asarray(x) - left) / (right - left), 1 - (np.asarray(y) - low) / (high - low)


def drag(browser, figure: str, first: tuple[float, float], last: tuple[float, float]) -> None:
    """Press the mouse at one place of `in_frame`, and release it at another; a click where they are the same."""
    left, top, width, height = browser.execute_script(
        f"const view = Bokeh.index.get_by_id(explorer.models.{figure}.id);"
        "const box = view.canvas_view.el.getBoundingClientRect(), frame = view.frame.bbox;"
        "return [box.left + frame.left, box.top + frame.top, frame.width, frame.height];"
    )
    places = [(left + x * width, top + y * height) for x, y in (first, last)]
    steps = [("mousePressed", places[0]), ("mouseMoved", places[1]), ("mouseReleased", places[1])]
    for kind, (x, y) in steps if first != last else steps[::2]:
        event = {"type": kind, "x": x, "y": y, "buttons": 1, "button": "left", "clickCount": 1}
        browser.execute_cdp_cmd("Input.dispatchMouseEvent", event)


def test_a_star_is_found_by_its_id_with_numbers_flags_and_spectrum(browser, table):
    star = table.ids[EMBEDDED]
    box = browser.find_element("id", "star")
    box.clear()
    box.send_keys(star[:9])
    options = "return [...document.querySelectorAll('#names option')].map(option => option.value)"
    assert star in browser.execute_script(options)
    box.send_keys(star[9:], "\n")
    until(lambda: text(browser, "panel-name") == star)
    distance, error = re.search(r"distance \(network\)\s+(\d+) ± (\d+) pc", text(browser, "numbers")).groups()
    assert float(distance) == pytest.approx(table.values("dist")[EMBEDDED], abs=0.7)
    assert float(error) == pytest.approx(table.values("dist_error")[EMBEDDED], abs=0.6)
    names = [name for bit, (name, _) in table.meanings.items() if table.flags[EMBEDDED] & bit]
    assert all(name in text(browser, "flags") for name in names or ["No flag is set"])
    flux = until(lambda: browser.execute_script("return Array.from(explorer.models.spectrum.data.flux)"))
    known = np.array([value for value in flux if value is not None])
    assert known == pytest.approx(explorer_files.spectra()[EMBEDDED], abs=6e-4)


def test_a_star_without_a_spectrum_says_how_to_get_it(browser, table):
    browser.execute_script(f"explorer.find('{table.ids[OTHER].lower()}')")
    assert f"apogaia explore mine.fits --star {table.ids[OTHER]}" in text(browser, "spectrum-note")
    browser.find_element("css selector", "#spectrum-note button").click()
    until(lambda: text(browser, "panel-name") == table.ids[EMBEDDED])
    browser.execute_script("explorer.find('2Mnobody')")
    assert "No star 2Mnobody" in text(browser, "status")


def test_another_column_changes_the_colours_of_all_figures(browser):
    before = [image_of(browser, figure) for figure in ("map", "kiel", "parallaxes")]
    low = text(browser, "scale-low")
    choice = "const select = document.getElementById('colour'); select.value = 'snr';"
    browser.execute_script(f"{choice} select.dispatchEvent(new Event('change'));")
    until(
        lambda: all(image_of(browser, f) != was for f, was in zip(("map", "kiel", "parallaxes"), before, strict=True))
    )
    assert text(browser, "scale-low") != low


def test_a_box_in_one_figure_selects_in_all_and_changes_the_panel(browser, table):
    browser.execute_script(f"explorer.choose({int(np.argmax(table.values('logg')))})")  # below the box
    before, images = text(browser, "panel-name"), [image_of(browser, figure) for figure in ("map", "parallaxes")]
    drag(browser, "kiel", (0.5, 0.05), (0.98, 0.45))
    until(
        lambda: "stars" in text(browser, "selection-content") and "No stars" not in text(browser, "selection-content")
    )
    rows = browser.execute_script("return explorer.selected.rows")
    x, y = in_frame(browser, "kiel", table.values("teff"), table.values("logg"))
    expected = np.flatnonzero((x > 0.5) & (x < 0.98) & (y > 0.05) & (y < 0.45))
    assert len(set(rows) ^ set(expected)) <= 3 and len(expected) > 20  # a pixel more or less at the edges
    until(lambda: all(image_of(browser, f) != was for f, was in zip(("map", "parallaxes"), images, strict=True)))
    assert f"{len(rows)}" in text(browser, "selection-content") and "median distance" in text(
        browser, "selection-content"
    )
    best = EMBEDDED if EMBEDDED in rows else max(rows, key=lambda row: table.values("snr")[row])
    assert text(browser, "panel-name") == table.ids[best] != before
    browser.find_element("id", "clear").click()
    assert text(browser, "selection-content") == "No stars are selected."


def test_flagged_stars_are_hidden_on_request(browser, table):
    before = image_of(browser, "map")
    browser.find_element("id", "show-flagged").click()
    until(lambda: image_of(browser, "map") != before)
    counted = browser.execute_script("return explorer.layers.order.length")
    browser.find_element("id", "show-flagged").click()
    assert counted == len(table) - table.bad.sum()


def test_a_lasso_selects_what_is_inside(browser, table):
    corners = [[-12.0, -3.0], [-4.0, -6.0], [-7.0, 0.5], [-3.0, 5.0], [-11.0, 4.0], [-9.0, 0.0]]
    x, y = zip(*corners, strict=True)
    geometry = {"type": "poly", "x": x, "y": y}
    browser.execute_script("explorer.selectInside(arguments[0], explorer.rasters[0])", geometry)
    places = np.column_stack([table.values("x"), table.values("y")])
    expected = np.flatnonzero(Polygon(corners).contains_points(places))
    assert browser.execute_script("return explorer.selected.rows") == expected.tolist() and len(expected) > 10


def test_a_click_chooses_the_star_beneath(browser, table):
    row = int(np.argmax(np.where(table.bad, -1, table.values("logg"))))
    place = in_frame(browser, "kiel", table.values("teff")[row], table.values("logg")[row])
    drag(browser, "kiel", place, place)
    until(lambda: text(browser, "panel-name") == table.ids[row])


def test_axes_that_move_redraw_the_stars(browser):
    before = image_of(browser, "parallaxes")
    browser.execute_script("explorer.models.parallaxes.x_range.end *= 0.9")
    until(lambda: image_of(browser, "parallaxes") != before)


def test_a_kiloparsec_is_as_long_in_x_as_in_y(browser):
    left, right, low, high = ranges_of(browser, "map")
    width, height = browser.execute_script(
        "const map = explorer.models.map; return [map.inner_width, map.inner_height]"
    )
    assert (right - left) / width == pytest.approx((high - low) / height)
