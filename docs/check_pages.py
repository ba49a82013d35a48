"""Check the built site: links and anchors, and in a browser widths and formulas.

Usage: python docs/check_pages.py [FOLDER]
"""

import html
import json
import re
import shutil
import subprocess
import sys
import tempfile
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

PHONE, WIDE = 390, 1400

# Each page in a frame of each width. It scrolls sideways where its root or the theme's container
# of the article is wider than it shows; a formula that was not typeset has no picture, a wrong one
# has an error in it.
HARNESS = """<!DOCTYPE html><pre id="found"></pre><script>
async function look(page, width) {
  const frame = document.createElement("iframe");
  frame.style = `border: 0; height: 900px; width: ${width}px`;
  frame.src = page;
  document.body.append(frame);
  await new Promise((done) => (frame.onload = done));
  await frame.contentWindow.MathJax?.startup.promise;
  const inside = frame.contentDocument;
  const formulas = [...inside.querySelectorAll(".math")];
  const scrolled = [inside.documentElement, ...inside.querySelectorAll(".bd-article-container")];
  const result = {
    page,
    width,
    excess: Math.max(...scrolled.map((part) => part.scrollWidth - part.clientWidth)),
    formulas: formulas.length,
    bad: formulas.filter((f) => !f.querySelector("mjx-container > svg")
      || f.querySelector("[data-mjx-error]")).length,
  };
  frame.remove();
  return result;
}
(async () => {
  const found = [];
  for (const page of PAGES) for (const width of WIDTHS) found.push(await look(page, width));
  document.getElementById("found").textContent = JSON.stringify(found);
})();
</script>"""


class Page(HTMLParser):
    """Anchors of a page and the links on it."""

    def __init__(self, path):
        super().__init__()
        self.anchors, self.links = set(), []
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.anchors.update(attrs[key] for key in ("id", "name") if attrs.get(key))
        self.links += [attrs[key] for key in ("href", "src") if attrs.get(key)]


def built_pages(folder):
    """Files of all pages; those of the theme are none."""
    pages = folder.rglob("*.html")
    return sorted(path for path in pages if "_static" not in path.relative_to(folder).parts)


def broken_links(folder):
    """What the pages of a folder link to and is not there."""
    pages = {path: Page(path) for path in built_pages(folder)}
    for path, page in pages.items():
        for link in dict.fromkeys(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            missing = anchor and target in pages and anchor not in pages[target].anchors
            if not target.is_file() or missing:
                yield f"{path.relative_to(folder)}: {link}"


def seen_in_browser(folder, browser):
    """Excess width and formulas of every page at both widths."""
    pages = [path.as_uri() for path in built_pages(folder)]
    script = HARNESS.replace("PAGES", json.dumps(pages)).replace("WIDTHS", f"[{PHONE}, {WIDE}]")
    with tempfile.TemporaryDirectory() as temporary:
        harness = Path(temporary, "harness.html")
        harness.write_text(script)
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"]
        command += ["--no-first-run", "--disable-background-networking", "--disable-sync"]
        command += ["--disable-component-update", f"--user-data-dir={temporary}/profile"]
        command += ["--allow-file-access-from-files", "--virtual-time-budget=10000000"]
        command += ["--dump-dom", harness.as_uri()]
        dom = subprocess.run(command, capture_output=True, text=True, timeout=900, check=True)
    found = re.search(r'<pre id="found">(.*?)</pre>', dom.stdout, flags=re.DOTALL)
    return json.loads(html.unescape(found[1]))


def main(folder):
    """Print what is wrong; the number of such lines."""
    wrong = [f"broken link in {line}" for line in broken_links(folder)]
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        print("widths and formulas not checked: there is no chromium")
    else:
        found = seen_in_browser(folder, browser)
        for one in found:
            where = f"{one['page']} at {one['width']} px"
            wrong += [f"{where}: {one['excess']} px too wide"] if one["excess"] > 0 else []
            wrong += [f"{where}: {one['bad']} formulas not typeset"] if one["bad"] else []
        n_formulas = sum(one["formulas"] for one in found if one["width"] == WIDE)
        print(f"{len(found) // 2} pages at {PHONE} and {WIDE} px, {n_formulas} formulas")
    print("\n".join(wrong) or "nothing is wrong")
    return len(wrong)


if __name__ == "__main__":
    default = Path(__file__).parent / "_build" / "html"
    sys.exit(bool(main(Path(*sys.argv[1:] or [default]).resolve())))
