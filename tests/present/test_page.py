"""The page: what it holds, and what a real browser shows of it."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest

from rfgraph import Network, Report, analyze
from rfgraph.cli import main
from rfgraph.present.page import Page, as_script

#: The system's browser, and what keeps it from the network.
CHROMIUM = shutil.which("chromium")
OPTIONS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip

#: Bytes that the page's own script takes at most.
OWN = 40_000

HOSTILE = "</script><img src=x onerror=alert(1)>\u2028\u202e'\"&@@DATA@@"


def data_of(text: str) -> dict[str, Any]:
    """Return the data of a page."""
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    data: dict[str, Any] = json.loads(found)
    return data


def misaligned() -> nx.DiGraph:
    """Return a small U-Net of valid convolutions, whose skip is cropped to one side."""
    net = Network("cropped", axes=2)
    down = net.conv("down/conv", net.input("image"), kernel=3, padding=1)
    low = net.conv("low/conv", net.max_pool("low/pool", down, kernel=2), kernel=3)
    up = net.conv_transpose("up/up", low, kernel=2, stride=2)
    net.concat("up/concat", up, net.crop("up/crop", down, padding=[[0, -4], [0, -4]]))
    return net.graph


def tcn() -> nx.DiGraph:
    """Return a causal network over time whose last block looks ahead."""
    net = Network("tcn", axes=1)
    x = net.input("signal", channels=1)
    for block in range(4):
        d = 2**block
        y = net.conv(f"block{block}.conv", x, kernel=3, dilation=d, padding=[[2 * d, 0]], channels=8)
        x = net.add(f"block{block}.add", y, net.conv(f"block{block}.skip", x, kernel=1, channels=8))
    net.conv("head", x, kernel=3, padding=1, channels=1)
    return net.graph


def borders() -> nx.DiGraph:
    """Return a network whose borders mirror, repeat and go round."""
    net = Network("borders", axes=2)
    x = net.input("image")
    for mode in ("reflect", "edge", "symmetric", "wrap"):
        x = net.conv(f"{mode}/conv", net.pad(f"{mode}/pad", x, padding=2, mode=mode), kernel=5)
    return net.graph


def unknown() -> nx.DiGraph:
    """Return a network that resizes to a size, behind a gate: without an input size its field is not known."""
    net = Network("unknown", axes=2)
    x = net.conv("conv", net.input("image"), kernel=3)
    gate = net.sigmoid("gate.sigmoid", net.global_avg_pool("gate.pool", x))
    net.resize("up", net.mul("gate.mul", x, gate), size=50)
    return net.graph


MODELS: dict[str, tuple[Any, Any]] = {
    "resnet": ("zoo:resnet_v1_50", 224),
    "unet": (misaligned, 64),
    "tcn": (tcn, 256),
    "volumes": ("zoo:resnet3d_18", (16, 64, 64)),
}

#: Networks of other kinds of windows: upsampling, branches of unlike kernels, SAME padding, gates, borders that mirror.
MORE: dict[str, tuple[Any, Any]] = {
    "unet_bilinear": ("zoo:unet_bilinear", 64),
    "unet_3x3": ("zoo:unet_3x3", 64),
    "inception": ("zoo:inception_v3", 139),
    "xception": ("zoo:xception", 107),
    "wavenet": ("zoo:wavenet", 4000),
    "dense": ("zoo:densenet_121", 64),
    "borders": (borders, 30),
    "gate": (unknown, 40),
}


def report_of(model: Any, size: Any) -> Report:
    return analyze(model() if callable(model) else model, input_size=size)


@pytest.mark.parametrize("name", MODELS)
def test_a_page_is_one_file_that_fetches_nothing(name: str) -> None:
    text = Page(report_of(*MODELS[name]), "model").text()
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    outside = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert not re.findall(r"\s(?:src|style|on\w+)=", outside)
    assert set(re.findall(r"https?://[^\"'\s]*", text)) == {"http://www.w3.org/2000/svg"}
    assert not re.findall(r"\b(?:eval|Function|fetch|XMLHttpRequest|innerHTML|import)\b", text.split("<script>")[1])


def test_the_script_is_small_and_a_page_of_a_big_network_too() -> None:
    folder = Path(__file__).parents[2] / "rfgraph" / "present" / "page"
    assert (folder / "page.js").stat().st_size < OWN
    growth, blocks, layers = 32, (6, 12, 48, 32), Network("densenet_201", axes=2)
    x = layers.conv("features.conv0", layers.input("image"), kernel=7, stride=2, padding=3, channels=64)
    for block, count in enumerate(blocks, start=1):
        features = [x]
        for i in range(count):
            at = f"features.denseblock{block}.denselayer{i}"
            y = layers.concat(f"{at}.concat", *features)
            for part, kernel in (("1", 1), ("2", 3)):
                y = layers.relu(f"{at}.relu{part}", layers.batch_norm(f"{at}.norm{part}", y))
                y = layers.conv(f"{at}.conv{part}", y, kernel=kernel, padding=kernel // 2, channels=growth)
            features.append(y)
        x = layers.concat(f"features.concat{block}", *features)
        if block < len(blocks):
            x = layers.avg_pool(f"features.pool{block}", layers.conv(f"features.t{block}", x, kernel=1), kernel=2)
    text = Page(analyze(layers.graph, input_size=224), "model").text()
    assert len(data_of(text)["nodes"]) >= 690
    assert len(text.encode()) < 1_000_000


def test_names_stay_text_in_the_file() -> None:
    net = Network(HOSTILE, axes=1)
    net.conv(HOSTILE, net.input("x"), kernel=3)
    text = Page(analyze(net.graph), "model").text()
    assert text.count("</script>") == 2
    assert "<img" not in text
    assert "\u2028" not in text
    names = [node["name"] for node in data_of(text)["nodes"]]
    assert names == ["x", HOSTILE.replace("\u2028", r"\u2028").replace("\u202e", r"\u202e")]
    assert json.loads(as_script({"a": HOSTILE})) == {"a": HOSTILE}


def test_the_data_are_the_results() -> None:
    report = analyze("zoo:resnet_v1_50", input_size=224)
    data = data_of(Page(report, "model").text())
    assert [node["name"] for node in data["nodes"]] == list(report)
    assert [node["size"] for node in data["nodes"]] == [list(layer.map_size) for layer in report.values()]
    headings = [heading for heading, _ in data["layers"]["columns"]]
    shown = {row[0]: dict(zip(headings, row, strict=True)) for row in data["layers"]["rows"]}
    assert shown["resnet_v1_50/block4"]["r"] == "483"
    assert shown["resnet_v1_50/block4"]["P"] == "239"
    for node in data["nodes"]:
        for tail, *windows in node["reads"]:
            assert (data["nodes"][tail]["name"], node["name"]) in report_edges(report)
            assert all(0 <= window < len(data["windows"]) for window in windows)


def report_edges(report: Report) -> set[tuple[Any, Any]]:
    return {(read.tail, name) for name in report for read in report.reads(name)}


def test_numbers_that_no_browser_holds_are_said_to_be_unknown() -> None:
    net = Network("huge", axes=1)
    net.conv("conv", net.input("x"), kernel=2**60)
    data = data_of(Page(analyze(net.graph), "model").text())
    assert [window[0] for window in data["windows"]] == ["?"]
    assert "too large for a browser" in data["windows"][0][5]


@pytest.mark.parametrize("name", MODELS)
def test_the_effective_field_is_that_of_the_middle_of_each_output(name: str) -> None:
    report = report_of(*MODELS[name])
    parts = data_of(Page(report, "model").text())["panels"]["effective"]
    heats = [value for kind, value in parts if kind == "heat"]
    assert len(heats) == len(report.outputs)
    field = report.effective_field(report.outputs[0])
    plane = field.strength.sum(axis=tuple(range(field.map.ndim - 2))) if field.map.ndim > 2 else field.strength
    plane = np.atleast_2d(plane)
    cells = np.array(heats[0]["cells"])
    every = -(-max(plane.shape) // 90)
    blocks = {
        place: plane[tuple(slice(at * every, (at + 1) * every) for at in place)].sum()
        for place in np.ndindex(cells.shape)
    }
    assert sum(blocks.values()) == pytest.approx(1)
    for place, share in blocks.items():
        assert cells[place] == pytest.approx(100 * share / max(blocks.values()), abs=0.51)


def test_the_command_writes_the_page(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    assert main(["report", "zoo:wavenet", "--sample-rate", "16000", "-o", str(path)]) == 0
    data = data_of(path.read_text(encoding="utf-8"))
    assert any(kind == "notes" and "ms" in " ".join(lines) for kind, lines in data["panels"]["latency"])


# In a browser

Shown = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("there is no chromium")
    with playwright.sync_playwright() as running:
        found = running.chromium.launch(executable_path=CHROMIUM, args=list(OPTIONS))
        yield found
        found.close()


@pytest.fixture
def show(browser: Any, tmp_path: Path) -> Iterator[Shown]:
    """Return what opens the page of a report; whatever a page complains of or asks the network for fails the test."""
    complaints: list[str] = []
    contexts = []

    def shown(report: Report, **options: Any) -> Any:
        path = tmp_path / "report.html"
        path.write_text(Page(report, "model", 16000).text(), encoding="utf-8")
        context = browser.new_context(viewport={"width": 1400, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: message.type != "error" or complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.on("request", lambda request: request.url == path.as_uri() or complaints.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_selector("#way .step")
        return page

    yield shown
    for context in contexts:
        context.close()
    assert complaints == []


def settle(page: Any) -> None:
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


@pytest.mark.parametrize("name", MODELS)
def test_every_panel_answers(show: Shown, name: str) -> None:
    report = report_of(*MODELS[name])
    page = show(report)
    page.set_default_timeout(5000)
    present = page.eval_on_selector_all("main section", "all => all.map(one => one.id)")
    assert [link.get_attribute("href") for link in page.query_selector_all("nav a")] == [f"#{one}" for one in present]
    assert ("latency" in present) == (len(report.axes) == 1)
    assert page.inner_text("h1") == report.name
    # Graph: fold, unfold, search, choose, zoom.
    page.click("#graph [data-do=fold]")
    folded = page.locator("#graph [data-member]").count()
    page.click("#graph [data-do=deeper]")
    page.click("#graph [data-do=unfold]")
    members = page.eval_on_selector_all("#graph [data-member]", "all => all.map(one => Number(one.dataset.member))")
    assert sorted(member for member in members if member >= 0) == list(range(len(report)))
    assert folded < len(report)
    last = list(report)[-1]
    page.fill("#graph [type=search]", str(last))
    page.press("#graph [type=search]", "Enter")
    settle(page)
    assert page.input_value("#layer") == last
    before = page.get_attribute("#graph svg", "viewBox")
    for button in ("in", "out", "in", "fit"):
        page.click(f"#graph [data-do={button}]")
    page.focus("#graph .view")
    page.keyboard.press("ArrowDown")
    settle(page)
    assert page.get_attribute("#graph svg", "viewBox") != before
    # A feature: chosen by a click on the graph, by number, by keys on the map.
    first = page.locator("#graph g.node").first
    first.dispatch_event("click")
    settle(page)
    assert page.input_value("#layer") == list(report)[int(str(first.get_attribute("data-member")))]
    page.fill("#layer", str(last))
    page.press("#layer", "Enter")
    settle(page)
    for row in page.query_selector_all("#index input[type=number]"):
        row.fill("0")
    settle(page)
    zero = [0] * len(report.axes)
    box = report.region(last, zero).box
    assert box is not None
    said = ", ".join(
        f"{axis} {a}..{b}" if a < b else f"{axis} {a}" for axis, (a, b) in zip(report.axes, box, strict=True)
    )
    assert said in page.inner_text("#said")
    page.focus("#map")
    page.keyboard.press("ArrowRight")
    settle(page)
    sizes = report[last].map_size
    step = min(1, (sizes[-1] or 2) - 1)
    assert f"({', '.join(map(str, [*zero[:-1], step]))})" in page.inner_text("#said")
    shown = page.locator("#way .step").count()
    page.check("#pointwise")
    settle(page)
    assert page.locator("#way .step").count() >= shown
    for axis in range(len(report.axes)):
        page.select_option("#axis", str(axis))
        settle(page)
        assert page.locator("#chain .on").count() > 0
    # Findings, with both branches drawn.
    cards = page.query_selector_all("#findings article")
    assert [card.query_selector("p").inner_text() for card in cards] == [found.message for found in report.findings]
    for button in page.query_selector_all("#findings article button"):
        button.click()
    # Tables: sort, filter, copy.
    table = page.locator("#layertable")
    assert table.locator("tbody tr").count() == len(report)
    table.get_by_role("button", name="layer", exact=True).click()
    names = table.locator("tbody td:first-child").all_inner_texts()
    assert names == sorted(map(str, report))
    table.locator("tbody tr").first.click()
    settle(page)
    assert page.input_value("#layer") == names[0]
    table.locator("[type=search]").fill("conv")
    rows = table.locator("tbody tr").all_inner_texts()
    assert rows
    assert all("conv" in row for row in rows)
    page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    for button in page.query_selector_all("text=copy as CSV"):
        button.click()
        copied = page.input_value("#copied textarea")
        widths = {len(row) for row in csv.reader(io.StringIO(copied))}
        assert len(widths) == 1
        page.click("#copied button")


@pytest.mark.parametrize("name", [*MODELS, *MORE])
def test_the_browser_follows_fields_as_rfgraph_does(show: Shown, name: str) -> None:
    report = report_of(*{**MODELS, **MORE}[name])
    page = show(report)
    random = np.random.default_rng(0)
    names = list(report)
    asked = []
    for v in sorted({*random.choice(len(names), min(len(names), 40), replace=False).tolist(), len(names) - 1}):
        sizes = report[names[v]].map_size
        assert all(size is not None for size in sizes)
        corners = [[0] * len(sizes), [size - 1 for size in sizes]]
        asked += [(v, index) for index in (*corners, [int(random.integers(size)) for size in sizes])]
    answers = page.evaluate("asked => asked.map(([v, index]) => region(v, index))", asked)
    exact = 0
    for (v, index), answer in zip(asked, answers, strict=True):
        region = report.region(names[v], index)
        found = None if answer is None else tuple(map(tuple, answer["box"]))
        if answer is None or answer["exact"]:
            exact += 1
            assert found == region.box, (names[v], index)
        elif region.box is not None:
            pairs = zip(found, region.box, strict=True)
            assert all(a <= first and last <= b for (a, b), (first, last) in pairs), (names[v], index)
    assert exact >= len(asked) / 2  # where it does not follow gaps, it says "at most"


def test_names_stay_text_in_the_browser(show: Shown) -> None:
    net = Network(HOSTILE, axes=1)
    x = net.conv(f"{HOSTILE}.a", net.input("x"), kernel=3)
    net.add(f"{HOSTILE}.b", x, net.crop(f"{HOSTILE}.c", x, padding=0))
    page = show(analyze(net.graph))
    assert page.locator("img").count() == 0
    assert "</script><img" in page.inner_text("h1")


def test_a_picture_stays_on_the_machine(show: Shown, tmp_path: Path) -> None:
    page = show(report_of(*MODELS["unet"]))
    pixels = "() => [...$('#input').getContext('2d').getImageData(3, 3, 1, 1).data].join()"
    blank = page.evaluate(pixels)
    red = page.evaluate(
        """() => { const c = document.createElement("canvas"); c.width = c.height = 8; const pen = c.getContext("2d");
        pen.fillStyle = "#f00"; pen.fillRect(0, 0, 8, 8); return c.toDataURL().split(",")[1]; }"""
    )
    (tmp_path / "red.png").write_bytes(base64.b64decode(red))
    page.set_input_files("#feature [type=file]", str(tmp_path / "red.png"))
    page.wait_for_function(f"before => ({pixels})() !== before", arg=blank)
    page.click("#feature [data-do=grid]")
    settle(page)
    assert page.evaluate(pixels) == blank


def test_phases_are_scrubbed_through(show: Shown) -> None:
    report = report_of("zoo:unet_bilinear", 64)
    page = show(report)
    slider = page.locator("#index .phase").first
    period = report["segments"].field[0].period
    assert slider.get_attribute("max") == str(period - 1)
    seen = set()
    for phase in range(period):
        slider.fill(str(phase))
        settle(page)
        seen.add(page.inner_text("#said"))
    assert len(seen) == period


def test_what_is_not_known_says_why(show: Shown) -> None:
    page = show(analyze(unknown()))
    assert page.inner_text("#said") == (
        "Feature (25, 25) of up reads what is not known: a resize to size 50 depends on the input size; give one; "
        "cut at no border: no input size is given."
    )
    page.fill("#layer", "conv")
    page.press("#layer", "Enter")
    settle(page)
    assert "reads y 0..2, x 0..2; cut at no border" in page.inner_text("#said")


def test_big_graphs_are_drawn_on_a_canvas(show: Shown) -> None:
    net = Network("long", axes=1)
    x = net.input("x")
    for i in range(1600):
        x = net.conv(f"c{i}", x, kernel=3, padding=1)
    page = show(analyze(net.graph, input_size=64))
    assert page.locator("#graph svg").count() == 0
    page.fill("#graph [type=search]", "c1234")
    page.press("#graph [type=search]", "Enter")
    settle(page)
    box = page.locator("#graph canvas").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2 - 50)
    settle(page)
    assert page.input_value("#layer") == "c1233"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1400])
def test_light_and_dark_and_nothing_wider_than_the_window(show: Shown, scheme: str, width: int) -> None:
    page = show(report_of(*MODELS["resnet"]), color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 800})
    settle(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    colours = {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 24, 29)"}
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == colours[scheme]


def test_it_prints_light_and_whole(show: Shown) -> None:
    page = show(report_of(*MODELS["unet"]), color_scheme="dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.is_visible("nav")
    assert page.is_visible("#layertable table")
    assert page.evaluate(
        "[...document.querySelectorAll('.scroll')].every(one => one.scrollHeight <= one.clientHeight + 1)"
    )


def test_the_whole_graph_is_printed_and_the_screen_is_as_before(show: Shown) -> None:
    page = show(report_of(*MODELS["resnet"]))
    settle(page)
    seen = page.get_attribute("#graph svg", "viewBox")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    x, y, width, height = map(float, str(page.get_attribute("#graph svg", "viewBox")).split())
    drawn = page.evaluate(
        "(() => { const {x, y, width, height} = $('#graph svg').getBBox(); return [x, y, width, height]; })()"
    )
    assert x <= drawn[0]
    assert y <= drawn[1]
    assert x + width >= drawn[0] + drawn[2]
    assert y + height >= drawn[1] + drawn[3] - 20
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    settle(page)
    assert page.get_attribute("#graph svg", "viewBox") == seen


def shapes(part: dict[str, Any], look: str) -> list[dict[str, Any]]:
    """Return the attributes of the rectangles of a drawing that look so."""
    return [attributes for tag, attributes, _ in part["shapes"] if tag == "rect" and attributes["class"] == look]


def test_a_timeline_shows_what_layers_wait_for() -> None:
    data = data_of(Page(report_of(tcn, 256), "model", 16000).text())
    (drawn,) = [value for kind, value in data["panels"]["latency"] if kind == "picture"]
    # Block b reads 2 * 2**b samples before those of the block above it; the head one to each side.
    past = [2 * (2 ** (block + 1) - 1) for block in range(4)]
    rows = [
        past[0],
        past[0],
        past[1],
        past[0],
        past[1],
        past[2],
        past[1],
        past[2],
        past[3],
        past[2],
        past[3],
        past[3] + 1,
    ]
    widths = [one["width"] for one in shapes(drawn, "on")]
    (ahead,) = shapes(drawn, "other")
    assert [round(width / ahead["width"]) for width in widths] == rows
    assert {round(one["x"] + one["width"], 1) for one in shapes(drawn, "on")} == {round(ahead["x"], 1)}
    assert "31 before to 1 after" in drawn["about"]


def test_tiles_of_usual_sizes_stand_beside_the_best_one() -> None:
    report = analyze("zoo:unet_2x2", input_size=1024)
    parts = data_of(Page(report, "model").text())["panels"]["tiling"]
    (table,) = [value for kind, value in parts if kind == "table"]
    plans = {int(row[0]): int(row[4]) for row in table["rows"]}
    assert plans == {1024: 1, **{tile: report.tiling(tile=tile).count for tile in plans if tile < 1024}}
    assert 512 in plans
    (drawn,) = [value for kind, value in parts if kind == "picture"]
    largest = max(tile for tile in plans if tile < 1024)
    assert f"tiles of {largest} along y and x" in drawn["about"]
    assert len(shapes(drawn, "on")) == plans[largest]


def test_heat_goes_from_dark_to_light(show: Shown) -> None:
    page = show(report_of(*MODELS["tcn"]))
    colours = [page.evaluate("percent => heatColour(percent)", percent) for percent in range(101)]
    assert (colours[0], colours[50], colours[100]) == ("rgb(68 1 84)", "rgb(33 145 140)", "rgb(253 231 37)")
    light = [0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in (map(int, re.findall(r"\d+", one)) for one in colours)]
    assert light == sorted(light)


def test_paths_along_axes_that_differ_name_them() -> None:
    parts = data_of(Page(report_of(*MODELS["volumes"]), "model").text())["panels"]["paths"]
    abouts = [value["about"] for kind, value in parts if kind == "picture"]
    assert [about.rpartition("field along ")[2] for about in abouts] == ["z", "y, x"]
