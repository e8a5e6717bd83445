"""In a real browser: no console message, and the script sorts, filters and changes the theme."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from beside_cases import make_full_report

from pianoeval.report.html import render

CHROMIUM = next(
    (p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))),
    None,
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH")

PROBE = """
<script>
var done = {};
var table = document.querySelector("table.sortable");
var heads = Array.from(table.tHead.rows[0].cells);
var column = heads.findIndex(function (h) { return h.textContent === "R² pooled"; });
heads[column].querySelector("button").click();
done.sort = heads[column].getAttribute("aria-sort");
done.top = table.tBodies[0].rows[0].cells[column].firstChild.textContent;
var search = document.querySelector(".filters input");
search.value = "transkun-4 ridge";
search.dispatchEvent(new Event("input"));
done.rows = Array.from(table.tBodies[0].rows).filter(function (r) { return !r.hidden; }).length;
document.getElementById("theme").click();
done.theme = document.documentElement.dataset.theme;
done.resources = performance.getEntriesByType("resource").length;
done.wide = document.documentElement.scrollWidth - window.innerWidth;
document.body.dataset.done = JSON.stringify(done);
</script>
"""


def browse(page: Path, profile: Path, width: int) -> tuple[str, list[str]]:
    """DOM after scripts, and the messages of the page's console."""
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
        "--no-first-run", "--disable-background-networking", "--disable-component-update",
        "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}",
        "--enable-logging=stderr", f"--window-size={width},900", "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.parametrize("width", [1280, 500])
def test_the_page_works(page: str, tmp_path: Path, width: int) -> None:
    file = tmp_path / "index.html"
    file.write_text(page.replace("</body>", PROBE + "</body>"), encoding="utf-8")
    dom, console = browse(file, tmp_path / "profile", width)
    assert console == []
    match = re.search(r'data-done="([^"]*)"', dom)
    assert match, "the script did not reach its end"
    done = match.group(1).replace("&quot;", '"')
    assert '"sort":"descending"' in done
    assert '"top":"0.717"' in done or '"top":"0.677"' in done
    assert '"rows":10' in done
    assert '"theme":"dark"' in done
    assert '"resources":0' in done
    wide = re.search(r'"wide":(-?\d+)', done)
    assert wide
    assert int(wide.group(1)) <= 0, "the page is wider than the window"


OPENED = """
<script>
var done = {};
document.querySelectorAll("details").forEach(function (part) { part.open = true; });
var table = Array.from(document.querySelectorAll("#c1-diagnostics table.sortable")).pop();
var head = table.tHead.rows[0].cells[0];
head.querySelector("button").click();
head.querySelector("button").click();
done.top = table.tBodies[0].rows[0].cells[0].textContent;
done.sorters = Array.from(document.querySelectorAll("table.sortable")).every(function (t) {
  return t.tHead.querySelectorAll("button").length === t.tHead.rows[0].cells.length; });
done.wide = document.documentElement.scrollWidth - window.innerWidth;
document.body.dataset.done = JSON.stringify(done);
</script>
"""


@pytest.mark.parametrize("width", [1280, 500])
def test_every_section_opened_fits_and_sorts(tmp_path: Path, width: int) -> None:
    file = tmp_path / "index.html"
    page = render([make_full_report(n_clips=60)])
    file.write_text(page.replace("</body>", OPENED + "</body>"), encoding="utf-8")
    dom, console = browse(file, tmp_path / "profile", width)
    assert console == []
    match = re.search(r'data-done="([^"]*)"', dom)
    assert match, "the script did not reach its end"
    done = match.group(1).replace("&quot;", '"')
    assert '"top":"p30"' in done
    assert '"sorters":true' in done
    wide = re.search(r'"wide":(-?\d+)', done)
    assert wide
    assert int(wide.group(1)) <= 0, "the page is wider than the window"
