"""What the page asks the host for when it names and explains nodes: translations, help pages, their pictures."""

from tests.host.server import Server


def test_the_host_serves_the_nodes_names_in_three_languages(host: Server):
    served = host.get("/i18n")
    nodes = {name for name in host.get("/object_info") if name.startswith("HanDrawer")}
    for language, name in (("en", "Place Hands"), ("ja", "手を配置"), ("zh", "放置手部")):
        assert nodes <= set(served[language]["nodeDefs"])
        assert served[language]["nodeDefs"]["HanDrawerPlaceHands"]["display_name"] == name


def test_the_host_serves_help_pages_with_their_pictures(host: Server):
    page = host.read("/extensions/HanDrawer/docs/HanDrawerPoser.md").decode()
    assert page.startswith("# Hand Poser\n") and "](images/HanDrawerPoser.webp)" in page
    picture = host.read("/extensions/HanDrawer/docs/images/HanDrawerPoser.webp")
    assert picture[:4] == b"RIFF" and picture[8:12] == b"WEBP"
