"""The theatre in a real JupyterLab, by keyboard and by mouse; and its module in a bare page, as in a book without a kernel."""

from __future__ import annotations

import base64
import functools
import http.server
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from meshmodel.results import fortio
from meshmodel.results.trace import Trace
from meshmodel.teaching import language
from meshmodel.teaching.theatre import Theatre, theatre
from meshmodel.teaching.theatre.widget import module, style

from ..unit.traces import forked, played
from .axe import grave_findings
from .lab import browser_page, chromium, jupyterlab, run_all, write_notebook

pytestmark = pytest.mark.browser

CELLS = (
    "from meshmodel.teaching.theatre import theatre\nfrom tests.unit.traces import played",
    "shown = theatre(played('ROUND_ROBIN'), played('LEAST_REQUEST'), title='Two policies')\nshown",
    "assert len(shown.data) == 2",
)
SECOND: dict[str, Any] = {"per_try": 0.1, "retries": 2, "limit": 4}
TIME = "() => document.querySelector('.mt').theatre.t"
HEARD = "() => document.querySelector('.mt-live').textContent"
DOTS = """() => [...document.querySelectorAll('.mt canvas')].map(canvas => {
    const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    let filled = 0; for (let i = 3; i < data.length; i += 4) filled += data[i] > 0; return filled; })"""

STICKING_OUT = """() => { const box = document.querySelector('.mt').getBoundingClientRect();
    return [...document.querySelectorAll('.mt :is(text, button, p, b, td, output, canvas)')].filter(part => {
        const r = part.getBoundingClientRect(); return r.width && (r.left < box.left - 1 || r.right > box.right + 1); })
        .map(part => part.textContent); }"""


@contextmanager
def lab_with_a_theatre(tmp_path: Path) -> Iterator[Any]:
    chromium()
    (tmp_path / "root").mkdir()
    write_notebook(tmp_path / "root/theatre.ipynb", *CELLS)
    with jupyterlab(tmp_path / "root", tmp_path) as address, browser_page(address, tmp_path) as page:
        run_all(page, address, "theatre.ipynb", tmp_path)
        page.locator(".mt").wait_for()
        page.wait_for_function("() => document.querySelector('.mt').theatre.panels[0].geo")
        yield page


def test_the_theatre_in_jupyterlab(tmp_path: Path) -> None:
    with lab_with_a_theatre(tmp_path) as page:
        cells = page.locator(".jp-Notebook .jp-Cell").count()
        _plays_and_pauses_by_keyboard(page)
        _steps_by_keyboard(page)
        _jumps_by_keyboard(page)
        _is_driven_by_mouse(page)
        _says_its_keys(page)
        _keeps_its_keys_from_the_notebook(page)
        _has_names(page)
        _looks_as_it_should(page)
        assert page.locator(".jp-Notebook .jp-Cell").count() == cells  # no key reached the notebook's own shortcuts
        page.screenshot(path=tmp_path / "theatre.png")


def _plays_and_pauses_by_keyboard(page: Any) -> None:
    root = page.locator(".mt")
    root.focus()
    page.keyboard.press("Space")
    page.wait_for_function("() => document.querySelector('.mt').theatre.t > 0.1")
    assert root.get_by_role("button", name="Pause (space)").is_visible()
    page.keyboard.press("Space")
    assert root.get_by_role("button", name="Play (space)").is_visible()
    stopped = page.evaluate(TIME)
    page.wait_for_timeout(200)
    assert page.evaluate(TIME) == stopped > 0.1
    assert min(page.evaluate(DOTS)) > 50
    assert f"At {stopped:.3f} seconds." in page.evaluate(HEARD) and "ROUND_ROBIN, the model's run: " in page.evaluate(HEARD)


def _steps_by_keyboard(page: Any) -> None:
    """Event by event, until LEAST_REQUEST draws two pods of which one is busier: draws, counts and choice are shown and heard."""
    before = page.evaluate(HEARD)
    for _ in range(60):
        page.keyboard.press("ArrowRight")
        heard = page.evaluate(HEARD)
        assert heard != before
        before = heard
        if "has fewer active" in heard:
            break
    card = page.locator(".mt-card.here")
    assert "draws two pods" in card.inner_text() and card.locator(".mt-draw").count() == 2
    assert card.locator(".mt-draw.taken").inner_text().endswith("✓")
    panel = page.locator(".mt-panel", has=page.locator(".mt-card.here"))
    assert panel.locator(".pod.drawn").count() == 2 and panel.locator(".pod.taken").count() == 1
    at = page.evaluate("() => document.querySelector('.mt').theatre.at")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("() => document.querySelector('.mt').theatre.at") == at - 1


def _jumps_by_keyboard(page: Any) -> None:
    stop = page.evaluate("() => document.querySelector('.mt').theatre.spec.window[1]")
    page.keyboard.press("End")
    assert page.evaluate(TIME) == stop and page.locator(".mt-clock").inner_text() == f"{stop:.2f} s"
    page.keyboard.press("PageUp")
    assert page.evaluate(TIME) == pytest.approx(stop * 0.95)
    page.keyboard.press("Home")
    assert page.evaluate(TIME) == 0 and page.get_by_role("slider", name="Time in the run").get_attribute("aria-valuetext") == "0.00 seconds"
    speed = page.get_by_role("combobox", name="Speed")
    before = float(speed.input_value())
    page.keyboard.press("+")
    assert float(speed.input_value()) > before
    page.keyboard.press("-")
    assert float(speed.input_value()) == before


def _is_driven_by_mouse(page: Any) -> None:
    root, slider = page.locator(".mt"), page.get_by_role("slider", name="Time in the run")
    stop = page.evaluate("() => document.querySelector('.mt').theatre.spec.window[1]")
    box = slider.bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    assert page.evaluate(TIME) == pytest.approx(stop / 2, rel=0.05)
    assert f"At {page.evaluate(TIME):.3f} seconds" in page.evaluate(HEARD)
    at = page.evaluate("() => document.querySelector('.mt').theatre.at")
    for name, step in (("Step to the next event (right arrow)", 1), ("Step back (left arrow)", 0)):
        root.get_by_role("button", name=name).click()
        assert page.evaluate("() => document.querySelector('.mt').theatre.at") == at + step
    root.get_by_role("button", name="To the start (Home)").click()
    root.get_by_role("button", name="Play (space)").click()
    page.wait_for_function("() => document.querySelector('.mt').theatre.t > 0.05")
    root.get_by_role("button", name="Pause (space)").click()
    moment = page.locator(".mt-watch button").last
    moment.click()
    assert page.evaluate(TIME) == pytest.approx(float(moment.inner_text().removesuffix(" s")), abs=0.006)


def _says_its_keys(page: Any) -> None:
    told = page.locator(".mt-keys")
    assert told.locator("kbd").all_inner_texts() == ["Space", "←", "→", "PgUp", "PgDn", "Home", "End", "+", "−"]
    assert "plays and pauses" in told.inner_text() and told.is_visible()


NOTEBOOK = """() => { const notebook = window.jupyterapp.shell.currentWidget.content;
    return [notebook.widgets.length, notebook.activeCellIndex, notebook.mode, notebook.model.cells.get(0).sharedModel.source]; }"""
SCRUBBER = "Time in the run"


def _keeps_its_keys_from_the_notebook(page: Any) -> None:
    """On everything of the theatre's that takes the focus: keys of Lab's (a, b: a cell more; x: cut; k, j: another cell) do nothing."""
    takers = page.locator(".mt, .mt button, .mt input, .mt select, .mt summary")
    assert takers.count() > 8
    for taker in takers.all():
        assert taker.get_attribute("data-lm-suppress-shortcuts")  # some of Lab's selectors look at nothing but the focused element
        taker.focus()
        before = page.evaluate(NOTEBOOK)
        for key in ("a", "b", "x", "k", "j", "m", "ArrowUp", "ArrowDown", "Shift+k"):
            page.keyboard.press(key)
        assert page.evaluate(NOTEBOOK) == before, taker.evaluate("each => each.outerHTML.slice(0, 120)")
    scrubber = page.get_by_role("slider", name=SCRUBBER)
    scrubber.focus()
    at = page.evaluate("() => document.querySelector('.mt').theatre.at")
    for key, step in (("ArrowRight", 1), ("ArrowUp", 2), ("ArrowLeft", 1), ("ArrowDown", 0)):
        page.keyboard.press(key)
        assert page.evaluate("() => document.querySelector('.mt').theatre.at") == at + step


def _looks_as_it_should(page: Any) -> None:
    """JupyterLab's own style sheets leave it alone: tiles side by side, a constant's value right of its name, nothing cut off."""
    tops = page.evaluate("() => [...document.querySelector('.mt-tiles').children].map(tile => tile.getBoundingClientRect().top)")
    assert len(set(tops)) == 1 and len(tops) == 4
    rows = page.evaluate(
        """() => [...document.querySelectorAll('.mt-constants section p')].map(row => {
            const [name, value, all] = [...row.children, row.parentElement].map(part => part.getBoundingClientRect());
            return value.left - name.right >= 0 && Math.abs(row.getBoundingClientRect().width - all.width) < 2; })"""
    )
    assert len(rows) > 5 and all(rows)
    assert page.evaluate(STICKING_OUT) == []


def _has_names(page: Any) -> None:
    assert page.get_by_role("group", name="Two policies").count() == 1
    assert page.get_by_role("region", name="ROUND_ROBIN, the model's run").count() == 1
    assert "answered" in page.locator(".mt-stage").first.get_attribute("aria-label")


# --- without a kernel ----------------------------------------------------------------------------


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[str]:
    """The address of a page that mounts the module on two traces."""
    with served(tmp_path, theatre(played("ROUND_ROBIN", fails=0.5, retries=2), played(**SECOND))) as address:
        yield address


@contextmanager
def served(tmp_path: Path, shown: Theatre) -> Iterator[str]:
    chromium()
    sent = shown.get_state()
    state = {"spec": sent["spec"], "words": sent["words"], "data": [base64.b64encode(part).decode() for part in shown.data]}
    folder = tmp_path / "bare"
    folder.mkdir()
    (folder / "module.js").write_text(module(), encoding="utf-8")
    (folder / "index.html").write_text(
        f"""<!doctype html><html lang="en"><meta charset="utf-8"><link rel="icon" href="data:,"><title>t</title><style>{style()}</style>
        <body style="margin:0"><div id="here"></div><script type="module">
        import * as module from "./module.js";
        const state = {json.dumps(state)};
        state.data = state.data.map(text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0)));
        window.module = module; window.state = state; window.player = module.mount(document.getElementById("here"), state);
        </script>""",
        encoding="utf-8",
    )
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


def _open(page: Any, address: str) -> None:
    page.goto(f"{address}/index.html")
    page.wait_for_function("() => window.player?.panels[0].geo")


COUNTS = """time => {
    const player = window.player, play = player.plays[1], now = window.module.frame(play, null, time), answers = now.answers;
    const { starts, ends } = player.spec.buckets;
    const columns = starts.map((_, i) => (answers.columns.get(i) ?? [0]).reduce((a, b) => a + b));
    return {
        active: play.panel.stage.pods.map(place => now.active[place]), columns, underWay: now.underWay,
        answered: answers.answered, failed: answers.failed,
        percentiles: [50, 75, 90, 99].map(p => window.module.percentile(p, columns, starts, ends, answers.least, answers.most)) }; }"""


def test_the_browser_counts_what_the_tables_say(bare: str, tmp_path: Path) -> None:
    """Active requests at each pod, answers, buckets and percentiles, at many moments, against the trace itself."""
    told = played(**SECOND)
    requests, inner = told.requests, told.attempts[told.attempts.hop == 1]
    with browser_page(bare, tmp_path) as page:
        _open(page, bare)
        for time in np.random.default_rng(1).uniform(0.2, 6.0, 25).astype("f4").tolist():
            seen = page.evaluate(COUNTS, time)
            sent = inner[(inner.start <= time) & ~(inner.end <= time)]
            assert seen["active"] == [int((sent.endpoint == pod).sum()) for pod in told.pods]
            done = requests[requests.end <= time]
            assert (seen["answered"], seen["failed"]) == (len(done), int((done.code >= 400).sum()))
            assert seen["underWay"] == int(((requests.start <= time) & ~(requests.end <= time)).sum())
            latency = (done.end - done.start).to_numpy()
            counts = fortio.bucket_counts(latency)
            assert [n for n in seen["columns"] if n] == counts[counts > 0].tolist()
            expected = fortio.percentiles(counts[:, None], [latency.min()], [latency.max()], [50, 75, 90, 99])[:, 0]
            assert seen["percentiles"] == pytest.approx(expected.tolist(), rel=1e-4)


def test_the_browsers_percentiles_are_fortios(bare: str, tmp_path: Path) -> None:
    """Few samples, so that the first bucket, the last one and 100/count all matter."""
    rng = np.random.default_rng(2)
    with browser_page(bare, tmp_path) as page:
        _open(page, bare)
        for count in range(1, 9):
            samples = rng.choice([0.1015, 0.1025, 0.104, 0.1303, 0.2501], count)
            counts = fortio.bucket_counts(samples)
            used = np.flatnonzero(counts)
            edges = fortio.bucket_edges()
            told = [counts[used].tolist(), edges[used - 1].tolist(), edges[used].tolist(), samples.min(), samples.max()]
            got = page.evaluate("told => [1, 10, 25, 50, 75, 90, 99, 100].map(p => window.module.percentile(p, ...told))", told)
            wanted = fortio.percentiles(counts[:, None], [samples.min()], [samples.max()], [1, 10, 25, 50, 75, 90, 99, 100])[:, 0]
            assert got == pytest.approx(wanted.tolist())


def test_its_keys_do_not_scroll_the_page(bare: str, tmp_path: Path) -> None:
    with browser_page(bare, tmp_path, viewport={"width": 1200, "height": 300}) as page:
        _open(page, bare)
        page.evaluate("() => document.querySelector('.mt').focus({ preventScroll: true })")
        for key in ("Space", "Space", "End", "PageDown", "ArrowRight", "ArrowLeft"):
            page.keyboard.press(key)
            assert page.evaluate("() => window.scrollY") == 0, key


WORDS = (
    "draws two pods",
    "twice backend-",
    "in turn (after backend-",
    "gives request",
    "of back-off",
    "No connection is free",
    "is sent after",
    "answers request",
    "Tried before: backend-",
    "500 from a proxy",
)


def test_every_event_has_its_words(bare: str, tmp_path: Path) -> None:
    with browser_page(bare, tmp_path) as page:
        _open(page, bare)
        texts = page.evaluate(
            """() => window.player.stops.all.map(stop => window.module.describe(window.player.plays[stop.panel], stop.k).text)"""
        )
        said = "\n".join(texts)
        assert "undefined" not in said and "NaN" not in said and "nobody" not in said
        for words in WORDS:
            assert words in said, words


SAID = """() => [...document.querySelectorAll('.mt, .mt *')].flatMap(part => [
    ...[...part.childNodes].filter(node => node.nodeType === 3).map(node => node.textContent),
    ...['aria-label', 'title', 'aria-valuetext', 'alt'].map(name => part.getAttribute(name))]).filter(text => text?.trim())"""
ENGLISH = "HTTP|fortio|Envoy|Space|PgUp|PgDn|Home|End|Page|Up|Down|ms|5xx|timeout|overflow|interval|gateway|web|backend"
"""What a Korean reader reads in English: names, keys, units, what manifests and Envoy call things."""


def test_every_word_follows_the_language(tmp_path: Path) -> None:
    """All that is seen or read aloud, at the first stop of each kind and at the end: no English is left but names."""
    language("ko")
    try:
        shown = theatre(played(fails=1.0, retries=2, eject=True, connections=8), played(**SECOND), title="두 정책", names=["축출", "한도"])
        with served(tmp_path, shown) as address, browser_page(address, tmp_path) as page:
            _open(page, address)
            texts = page.evaluate("() => window.player.stops.all.map(s => window.module.describe(window.player.plays[s.panel], s.k).text)")
            for time in np.linspace(0, 6, 13).tolist():
                page.evaluate("time => window.player.go(time)", time)
                texts += page.evaluate(SAID)
    finally:
        language("en")
    names = re.compile(rf"(?a)\b({ENGLISH})\b|\b[a-z]+[0-9A-Z]\w*|\b[A-Z]{{2,}}(_[A-Z]+)*\b|update_merge_window")
    left = {text for text in texts if re.search("[A-Za-z]{2,}", names.sub("", text))}
    assert left == set()
    assert sum("축출" in text for text in texts) > 3 and any("추첨" in text for text in texts)


@pytest.mark.parametrize("width", [380, 800, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_its_page_in_either_theme(bare: str, tmp_path: Path, width: int, scheme: str) -> None:
    with browser_page(bare, tmp_path, viewport={"width": width, "height": 900}, color_scheme=scheme) as page:
        _open(page, bare)
        page.evaluate("() => window.player.go(3)")
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width
        assert page.evaluate(STICKING_OUT) == []
        ground, ink = page.evaluate(
            "() => { const s = getComputedStyle(document.querySelector('.mt')); return [s.backgroundColor, s.color]; }"
        )
        dark = scheme == "dark"
        assert (_light(ground) < 60) == dark and (_light(ink) > 180) == dark
        assert min(page.evaluate(DOTS)) > 50
        page.screenshot(path=tmp_path / "shot.png", full_page=True)
        assert grave_findings(page, ".mt") == []


OVERLAPPING = """() => [...document.querySelectorAll('.mt-stage svg')].flatMap(stage => {
    const texts = [...stage.querySelectorAll('text')].filter(each => each.textContent)
        .map(each => [each.textContent, each.getBoundingClientRect()]);
    return texts.flatMap(([one, r], i) => texts.slice(i + 1).filter(([, q]) =>
        r.left < q.right - 1 && q.left < r.right - 1 && r.top < q.bottom - 3 && q.top < r.bottom - 3).map(([other]) => [one, other])); })"""
TRACES: dict[str, Any] = {
    "one connection": {"connections": 1},
    "limits": {"limit": 2, "connections": 5},
    "a pod that fails": {"fails": 0.125, "retries": 1, "connections": 2, "seconds_of": (0.125, 0.1, 0.1)},
    "ejections": {"fails": 1.0, "retries": 1, "eject": True, "connections": 12},
}


def with_the_gateways_whole_name(trace: Trace) -> Trace:
    return Trace.from_json(json.loads(json.dumps(trace.to_json()).replace('"gateway"', '"istio-ingressgateway"')))


@pytest.mark.parametrize("name", TRACES)
def test_no_label_of_a_stage_meets_another_on_a_phone(tmp_path: Path, name: str) -> None:
    shown, phone = theatre(with_the_gateways_whole_name(played(**TRACES[name]))), {"width": 380, "height": 900}
    with served(tmp_path, shown) as address, browser_page(address, tmp_path, viewport=phone) as page:
        _open(page, address)
        for _ in range(40):
            page.evaluate("() => window.player.step(1)")
            assert page.evaluate(OVERLAPPING) == [], page.evaluate(TIME)


BOXES = """() => { const { geo, play } = window.player.panels[0], { ends, stations } = play.panel.stage;
    return ends.map(end => stations[end].map(place => geo.nodes[place]).map(({ x, y, h }) => [x, y, h])); }"""
AT_WORK = """() => { const { geo, play, now } = window.player.panels[0];
    return now.dots.filter(dot => !dot.trail && !dot.ghost && dot.left === undefined && play.visits.target[dot.row] >= 0).map(dot => {
        const node = geo.nodes[play.visits.target[dot.row]];
        return [node.kind, dot.x > node.x && dot.x < node.x + node.w && dot.y > node.y && dot.y < node.y + node.h]; }); }"""


@pytest.mark.parametrize("width", [380, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_tree_of_calls_has_its_branches_below_one_another(tmp_path: Path, width: int, scheme: str) -> None:
    size = {"width": width, "height": 900}
    with served(tmp_path, theatre(forked())) as address, browser_page(address, tmp_path, viewport=size, color_scheme=scheme) as page:
        _open(page, address)
        db, backend = page.evaluate(BOXES)
        assert (len(db), len(backend)) == (1, 3) and len({x for x, _, _ in db + backend}) == 1
        tops = [y for _, y, _ in db + backend]
        assert all(lower > upper + high for (_, upper, high), lower in zip(db + backend, tops[1:], strict=False))
        assert page.locator(".mt-stage .called").all_text_contents() == ["db", "② backend"]
        assert any("① cart" in text for text in page.locator(".mt-stage text").all_text_contents())
        inside = []
        for time in np.linspace(0.1, 5.5, 28).tolist():
            page.evaluate("time => window.player.go(time)", time)
            inside += page.evaluate(AT_WORK)
            assert page.evaluate(OVERLAPPING) == [], time
        assert len(inside) > 10 and all(here for kind, here in inside if kind == "pod")
        assert page.evaluate(STICKING_OUT) == [] and page.evaluate("() => document.documentElement.scrollWidth") <= width
        heard = page.evaluate(HEARD)
        assert "db-0" in heard and "backend-2" in heard


def _light(colour: str) -> float:
    return float(np.mean([float(part) for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]))


def test_who_prefers_less_motion_sees_still_pictures(bare: str, tmp_path: Path) -> None:
    """Playing goes on by a second of the reader's at a time, and no dot is between two places."""
    with browser_page(bare, tmp_path, reduced_motion="reduce") as page:
        _open(page, bare)
        page.evaluate("() => { window.player.go(0); window.seen = new Set(); const draw = window.player.draw.bind(window.player);"
                      " window.player.draw = () => { draw(); window.seen.add(window.player.t); }; }")  # fmt: skip
        page.locator(".mt").focus()
        page.keyboard.press("Space")
        page.wait_for_function("() => window.seen.size >= 3")
        page.keyboard.press("Space")
        times = sorted(page.evaluate("() => [...window.seen]"))
        speed = page.evaluate("() => Number(window.player.speed.value)")
        assert np.diff(times)[:2].min() >= 0.99 * speed  # seconds of the run in one of the reader's
        moving = page.evaluate("""() => window.player.panels.flatMap(panel => panel.now.dots.filter(dot => dot.trail?.length).length)""")
        assert sum(moving) == 0


ON_PAPER = """() => { const root = document.querySelector('.mt'), style = getComputedStyle(root);
    const [list, line] = ['ul', 'li > span:last-child'].map(part => root.querySelector('.mt-watch ' + part).offsetWidth);
    const shown = [...root.querySelectorAll('button, select, input')].filter(part => part.offsetWidth).map(part => part.className);
    return { ground: style.backgroundColor, shown,
        clock: root.querySelector('.mt-clock').offsetWidth > 0, share: line / list, dots: root.querySelector('canvas').toDataURL() }; }"""

DRAWN_ANEW = "dots => document.querySelector('.mt canvas').toDataURL() !== dots"


def test_on_paper_the_moment_is_told_on_white_and_nothing_waits_for_a_hand(bare: str, tmp_path: Path) -> None:
    with browser_page(bare, tmp_path, color_scheme="dark") as page:
        _open(page, bare)
        page.evaluate("() => window.player.go(window.player.spec.still)")
        screen = page.evaluate(ON_PAPER)
        page.emulate_media(media="print")
        page.wait_for_function(DRAWN_ANEW, arg=screen["dots"])  # the browser tells of another medium in its own time
        paper = page.evaluate(ON_PAPER)
        times = page.locator(".mt-watch button")
        assert _light(screen["ground"]) < 60 and _light(paper["ground"]) == 255 and paper["dots"] != screen["dots"]
        assert paper["clock"] and paper["shown"] == [""] * times.count() and times.first.is_visible()
        assert paper["share"] > 0.7  # the lines keep their width


def test_something_else_can_be_loaded(bare: str, tmp_path: Path) -> None:
    with browser_page(bare, tmp_path) as page:
        _open(page, bare)
        page.evaluate(
            """() => { const { spec, data } = window.state, panels = spec.panels.slice(0, 1);
                window.player.load({ spec: { ...spec, title: 'Another', panels }, data: data.slice(0, 1) }); }"""
        )
        assert page.locator(".mt-panel").count() == 1 and page.locator(".mt-title").inner_text() == "Another"
        assert page.evaluate("() => Boolean(window.player.panels[0].geo)")
