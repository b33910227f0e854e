"""The report's page and Markdown: complete, whole, and in need of nothing else."""

import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from search.record import create_run, read_events
from search.report_contents import gather
from search.report_figures import draw_all
from search.report_page import (
    Scale,
    cell,
    duration,
    interval,
    render_html,
    render_markdown,
    share,
    signed,
)
from tests.report_runs import config, fail, many_trials, report_evaluations, sweep

VOID = {"meta", "link", "br", "img"}


class Page(HTMLParser):
    """Checks that elements close in order; keeps their attributes and all text."""

    def __init__(self, html):
        super().__init__()
        self.open, self.attributes, self.words = [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.attributes += [(tag, *pair) for pair in attributes]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.attributes += [(tag, *pair) for pair in attributes]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def page_of(run):
    report = gather(run, read_events(run.folder))
    drawn = draw_all(report)
    return report, render_html(report, drawn), render_markdown(report, list(drawn))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A report of 40 trials, one of which was stopped for each reason that there is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("search.record.os.fsync", lambda descriptor: None)
        run = many_trials(tmp_path_factory.mktemp("runs") / "many", 40, sentences=100)
    return page_of(run)


def test_page_parses_and_has_each_trial_once(whole):
    report, html, _ = whole
    page = Page(html)
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert sorted(i for i in ids if i.startswith("trial-")) == sorted(
        f"trial-{digest}" for digest in report.table["digest"]
    )
    text = " ".join(" ".join(page.words).split())
    for sentence in (report.summary.headline, report.summary.tied, *report.summary.open):
        assert sentence in text


def test_page_needs_no_other_file_and_no_other_host(whole):
    _, html, _ = whole
    page = Page(html)
    assert "<script" not in html
    assert not [a for a in page.attributes if a[1] in ("src", "srcset", "data", "action")]
    links = [value for _, name, value in page.attributes if name in ("href", "xlink:href")]
    assert all(link.startswith(("#", "data:,")) for link in links)
    assert not re.search(r"@import|url\((?!#)", html)
    assert "http" not in html


def test_links_of_the_page_lead_somewhere(whole):
    _, html, _ = whole
    page = Page(html)
    ids = {value for _, name, value in page.attributes if name == "id"}
    targets = [v for tag, name, v in page.attributes if tag == "a" and name == "href"]
    assert len(targets) == 8
    assert all(target.removeprefix("#") in ids for target in targets)


def test_all_figures_are_there_for_both_widths(whole):
    _, html, markdown = whole
    assert html.count("<figure") == 4
    assert html.count("<svg") == 8
    for name in ("learning_curves", "alpha_schedules", "sharpness", "marginals"):
        assert f"(figures/{name}.svg)" in markdown


def test_markdown_has_each_trial_and_sound_tables(whole):
    report, _, markdown = whole
    lines = markdown.splitlines()
    for words in report.table["words"]:
        name = words.partition(", ")[2]
        assert any(line.startswith(f"| {name} |") for line in lines)
    for before, rule in pairwise(lines):
        if re.fullmatch(r"\|(---\|)+", rule):
            assert before.count("|") == rule.count("|")
    assert "{{" not in markdown
    assert "{%" not in markdown


def test_ties_are_marked_and_the_first_is_named(whole):
    report, html, _ = whole
    assert html.count('<b class="mark">first</b>') == len(report.leaders)
    assert html.count('<b class="mark">tied</b>') >= len(report.tied) - len(report.leaders)


def test_words_from_outside_are_escaped(tmp_path):
    chosen = config()
    run = create_run(tmp_path / "run", sweep(device="<b>device</b>"), [chosen])
    fail(run, chosen, "size <3 | [4]>\nsecond line")
    _, html, markdown = page_of(run)
    Page(html)
    assert "size &lt;3 | [4]&gt;" in html
    assert "&lt;b&gt;device" in html
    assert "size <3 \\| [4]> second line" in markdown


def test_scores_on_the_whole_split_are_shown(tmp_path):
    chosen, plan = config(), sweep()
    plan["task"]["sentences"]["whole"] = 25_000
    plan["task"]["teacher"]["whole_accuracy"] = 0.9321
    run = create_run(tmp_path / "run", plan, [chosen])
    report_evaluations(run, chosen, (0.9,) * 4)
    run.trials[chosen.digest].evaluations[-1]["whole_accuracy"] = 0.8765
    for text in page_of(run)[1:]:
        assert "0.8765" in text
        assert "0.9321 on all 25,000" in text


@pytest.mark.parametrize("started", [False, True])
def test_run_of_one_trial(tmp_path, started):
    chosen = config()
    run = create_run(tmp_path / "run", sweep(), [chosen])
    if started:
        report_evaluations(run, chosen, (0.9,))
    _, html, _ = page_of(run)
    Page(html)
    assert f'id="trial-{chosen.digest}"' in html
    assert ("0.9000" in html) == started
    assert "learning_curves" not in html


def test_values_as_text():
    assert (share(0.85081), share(None), share(float("nan"))) == ("0.8508", "-", "-")
    assert (interval((0.8, 0.9)), interval(None)) == ("0.800 to 0.900", "-")
    assert (signed(0.0085), signed(-0.01), signed(None)) == ("+0.85", "-1.00", "-")
    assert [duration(s) for s in (42, 450, 11_520)] == ["42 s", "7.5 min", "3.2 h"]
    assert cell("a|b\n c") == "a\\|b c"


def test_places_on_a_strip_are_in_per_cent():
    scale = Scale(0.8, 0.9)
    assert [scale.place(v) for v in (0.8, 0.85, 0.9, None)] == [0.0, 50.0, 100.0, None]
    assert Scale(0.8, 0.8).place(0.8) == 0.0
