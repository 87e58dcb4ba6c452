from tests.web.test_bad_input import *
def test_zz_count():
    import collections
    c = collections.Counter()
    for m in tried.state.figures.registry.collect():
        for s in m.samples:
            if s.name == "whago_web_requests_total": c[s.labels["status"]] += int(s.value)
    print(c)
    assert 0
