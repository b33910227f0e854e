"""The page and its Markdown: complete in themselves, sound, each recipe once, words escaped."""

import re
from dataclasses import replace
from itertools import cycle, pairwise, product
from xml.etree import ElementTree

import pytest

from search.record.run import create_run
from search.report.contents import gather
from search.report.figures import all_figures
from search.report.page import plain, render, shown_sections
from search.results.cells import compact
from tests.report_runs import config, fail, plan, report_evaluations, reported, training_inputs


def page_of(run):
    report = gather(run)
    drawn = all_figures(report)
    shown = shown_sections(report, drawn)
    html, markdown = (render(name, report, shown, drawn) for name in ("report.html", "report.md"))
    return report, html, markdown


def parsed(html):
    """The page as XML, which it is but for void elements and the names of SVG's attributes."""
    closed = re.sub(r"<((?:meta|link)\b[^>]*)>", r"<\1/>", html[html.index("<html") :])
    return ElementTree.fromstring(closed.replace("xlink:", ""))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Of a finished run of 40 trials of 15 evaluations, of which some were stopped at each rung."""
    names = ("growth", "descent", "vshape", "^shape")
    shaped = product((f"cosine_{name}" for name in names), (0.5, 1.0, 2.0))
    schedules = [{"alpha": 0.5}, *({"alpha_schedule": n, "sharpness": k} for n, k in shaped)]
    grid = product(("random", "teacher_spread"), ("none", "1,2,3"), schedules)
    configs = [config(*of, evaluations=15, **schedule) for *of, schedule in grid][:40]
    folder = tmp_path_factory.mktemp("runs") / "many"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("search.record.events.os.fsync", lambda descriptor: None)
        patch.setattr("search.report.importance.RESAMPLES", 5)
        run = create_run(folder, plan(*configs, inputs=training_inputs(100), grace_evaluations=3))
        run.append({"event": "session", "provenance": {"command": "made up", "commit": "0" * 40}})
        for number, (chosen, count) in enumerate(zip(configs, cycle((3, 15, 6, 12)), strict=False)):
            shares = [0.8 + 0.003 * (number % 13) + 0.004 * n for n in range(count)]
            report_evaluations(run, chosen, shares, stop=count < 15, seed=number)
        return page_of(run)


def test_page_needs_no_other_file_and_no_other_host_and_has_all_its_parts(whole):
    report, html, _ = whole
    page = parsed(html)
    attributes = [(node.tag, *pair) for node in page.iter() for pair in node.attrib.items()]
    assert not [a for a in attributes if a[1] in ("src", "srcset", "data", "action")]
    links = [value for _, name, value in attributes if name == "href"]
    assert all(link.startswith(("#", "data:,")) for link in links)
    assert not re.search(r"@import|url\((?!#)|http|<script", html)
    text = " ".join(" ".join(page.itertext()).split())
    said = report.summary
    for sentence in (said.headline, *said.findings, *said.limitations):
        assert sentence in text
    targets = [value for tag, name, value in attributes if (tag, name) == ("a", "href")]
    parts = ["leaderboard", "study", "curves", "schedules", "importance", "asha", "cost"]
    assert targets == [f"#{part}" for part in (*parts, "provenance")]
    assert {part[1:] for part in targets} <= {v for _, name, v in attributes if name == "id"}
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
    before_it = ("run", "/my/", "dataset d", "teacher t", "fine, ", "no|", "lost ", "python ")
    for text in page_of(run)[1:]:
        assert "<script" not in text
        for before in before_it:
            escaped = f"{before}&lt;script&gt;alert(1)&lt;"
            assert escaped in text.replace("\\|", "|"), before
    assert plain("a|b\n c<d [e](f) `g`") == "a\\|b c&lt;d \\[e\\](f) \\`g\\`"


def test_rows_of_the_reference_study_that_the_run_has_not_are_one_line(tmp_path):
    random = config("random", "none")
    _, _, markdown = page_of(reported(tmp_path / "run", {config(): (), random: (0.8,) * 4}))
    assert "Not finished in this run: 17 of its 18 rows." in markdown
    assert "Stopped by ASHA" not in markdown  # where none was
    assert markdown.count("lxxing666") == 1


def test_what_importance_needs_is_said_where_all_scores_are_equal(tmp_path):
    grid = product((0.1, 0.3, 0.5, 0.7), (1.0, 2.0))
    equal = {config(alpha=a, temperature=t, evaluations=1): (0.9,) for a, t in grid}
    _, _, markdown = page_of(reported(tmp_path / "run", equal))
    assert "needs at least 8 trials with a score, and scores that differ." in markdown


def test_accuracy_against_cost_is_a_part_where_it_is_weighed(tmp_path):
    two, three = (config("random", "none", student_layers=n, evaluations=1) for n in (2, 3))
    run = reported(tmp_path / "run", {two: (0.5,), three: (0.9,)}, against="depth")
    _, html, markdown = page_of(run)
    assert 'id="front"' in html
    assert len(re.findall(r"(?m)^\| .*\+40\.00.*\| yes \|$", markdown)) == 1


@pytest.mark.parametrize("bits", [True, False])
@pytest.mark.parametrize("shares", [(), (0.9,) * 4])
def test_run_of_one_trial_whatever_is_known_of_it(tmp_path, shares, bits):
    run = reported(tmp_path / "run", {config(): shares})
    for evaluation in run.trials[config().digest].evaluations:
        evaluation["predictions"] = evaluation["predictions"] if bits else ""
    _, html, _ = page_of(run)
    parsed(html)
    assert ("0.9000" in html) == ('id="curves"' in html) == bool(shares)
