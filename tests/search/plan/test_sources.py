from search.plan.request import Request
from search.plan.sources import sources


def test_hub_ids():
    own = {"preset": "mini", "teacher": "/home/me/t", "dataset": "a/b:c"}
    for values, *ids in (
        ({"preset": "sst2"}, "microsoft/deberta-v3-base", "nyu-mll/glue"),
        ({"preset": "imdb"}, "microsoft/deberta-v3-base", "stanfordnlp/imdb"),
        (own, None, "a/b"),
        ({"preset": "mini"}, None, None),
    ):
        of_teacher, of_data = sources(Request(space="study", cache="", **values))
        assert [of_teacher[1], of_data[1]] == ids
        assert "/home" not in of_teacher[0]
