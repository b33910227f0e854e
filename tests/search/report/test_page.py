"""The page and its Markdown: complete in themselves, sound, each recipe once, words escaped."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from search.record.run import create_run
from search.report.contents import gather
from search.report.figures import draw_all
from search.report.page import plain, render, shown_sections
from search.results.cells import compact
from tests.report_runs import config, fail, many_trials, plan, report_evaluations, training_inputs

VOID = ("meta", "link", "br")


class Page(HTMLParser):
    """Reads a page; an element that is closed out of order is an error."""

    def __init__(self, html):
        super().__init__()
        self.open, self.attributes, self.words = [], [], []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        if tag not in VOID:
            self.open.append(tag)
        self.attributes += [(tag, *pair) for pair in attributes]

    def handle_startendtag(self, tag, attributes):
        self.attributes += [(tag, *pair) for pair in attributes]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def page_of(run):
    report = gather(run)
    drawn = draw_all(report)
    shown = shown_sections(report, drawn)
    html, markdown = (render(name, report, shown, drawn) for name in ("report.html", "report.md"))
    return report, html, markdown


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A report of 40 trials, some of which were stopped at each rung."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("search.record.events.os.fsync", lambda descriptor: None)
        run = many_trials(tmp_path_factory.mktemp("runs") / "many", 40, examples=100)
    return page_of(run)


def test_page_needs_no_other_file_and_no_other_host(whole):
    _, html, _ = whole
    page = Page(html)
    assert "<script" not in html
    assert not [a for a in page.attributes if a[1] in ("src", "srcset", "data", "action")]
    links = [value for _, name, value in page.attributes if name in ("href", "xlink:href")]
    assert all(link.startswith(("#", "data:,")) for link in links)
    assert not re.search(r"@import|url\((?!#)", html)
    assert "http" not in html


def test_page_has_all_its_parts_and_links_that_lead_there(whole):
    report, html, _ = whole
    page = Page(html)
    text = " ".join(" ".join(page.words).split())
    for sentence in (report.summary.headline, report.summary.tied, *report.summary.limitations):
        assert sentence in text
    ids = {value for _, name, value in page.attributes if name == "id"}
    targets = [v for tag, name, v in page.attributes if tag == "a" and name == "href"]
    parts = ["leaderboard", "study", "curves", "schedules", "importance", "asha", "cost"]
    assert targets == [f"#{part}" for part in (*parts, "provenance")]
    assert all(target.removeprefix("#") in ids for target in targets)
    assert html.count("<figure") == html.count("<svg") == 3
    assert html.count('<tr class="tied">') == report.recipes["tied"].sum() - 1
    assert html.count('<tr class="best">') == 1


def test_markdown_has_each_recipe_and_sound_tables(whole):
    report, _, markdown = whole
    lines = markdown.splitlines()
    for label in report.recipes["label"]:
        start, _, rest = plain(compact(label)).partition(", ")
        assert sum(line.startswith(f"| {rest} | {start} |") for line in lines) == 1
    for before, rule in pairwise(lines):
        if re.fullmatch(r"\|(---\|)+", rule):
            assert before.count("|") == rule.count("|")
    assert "{{" not in markdown
    for name in ("learning_curves", "sharpness", "marginals"):
        assert f"(figures/{name}.svg)" in markdown


def test_words_from_outside_are_escaped(tmp_path):
    script, chosen = "<script>alert(1)<", config()
    inputs = replace(training_inputs(), label_names=["fine", script])
    own = {"space": f"/my/{script}.py:grid", "dataset": f"d{script}", "teacher": f"t{script}"}
    run = create_run(tmp_path / f"run{script}", plan(chosen, inputs=inputs, device=script, **own))
    fail(run, chosen, f"no|{script}\nsecond line")
    run.damage.append(f"lost {script}")
    run.append({"event": "session", "provenance": {"command": f"python {script}"}})
    for text in page_of(run)[1:]:
        assert "<script" not in text
        wanted = ("run", "/my/", "dataset d", "teacher t", "fine, ", "no|", "lost ", "python ")
        for before in wanted:
            escaped = f"{before}&lt;script&gt;alert(1)&lt;"
            assert escaped in text.replace("\\|", "|"), before
    assert plain("a|b\n c<d [e](f) `g`") == "a\\|b c&lt;d \\[e\\](f) \\`g\\`"


def test_rows_of_the_reference_study_that_the_run_has_not_are_one_line(tmp_path):
    run = create_run(tmp_path / "run", plan(config(), config("random", "none")))
    report_evaluations(run, config("random", "none"), (0.8,) * 4)
    _, _, markdown = page_of(run)
    assert "Not in this run: 17 of its 18 rows." in markdown
    assert "Stopped by ASHA" not in markdown  # where none was
    assert markdown.count("lxxing666") == 1


def test_accuracy_against_cost_is_a_part_where_it_is_weighed(tmp_path):
    configs = [config("random", "none", student_layers=n, evaluations=1) for n in (2, 3)]
    run = create_run(tmp_path / "run", plan(*configs, against="depth"))
    for one, share in zip(configs, (0.5, 0.9), strict=True):
        report_evaluations(run, one, (share,))
    _, html, markdown = page_of(run)
    assert 'id="front"' in html
    gained = [line for line in markdown.splitlines() if line.startswith("| ") and "+40.00" in line]
    assert len(gained) == 1
    assert gained[0].endswith("| yes |")


@pytest.mark.parametrize("bits", [True, False])
@pytest.mark.parametrize("shares", [(), (0.9,) * 4])
def test_run_of_one_trial_whatever_is_known_of_it(tmp_path, shares, bits):
    chosen = config()
    run = create_run(tmp_path / "run", plan(chosen))
    report_evaluations(run, chosen, shares)
    for evaluation in run.trials[chosen.digest].evaluations:
        evaluation["predictions"] = evaluation["predictions"] if bits else ""
    _, html, _ = page_of(run)
    Page(html)
    assert ("0.9000" in html) == bool(shares)
    assert ('id="curves"' in html) == bool(shares)
