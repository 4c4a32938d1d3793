"""The list of published networks, and fetching one with and without a network connection."""

import json
from dataclasses import replace

import pytest
from published_networks import network, write_folder
from stand_in import Response, StandIn

from apogaia.archive.http.download import FetchError
from apogaia.published import registry
from apogaia.published.folder_parameters import HIDDEN
from apogaia.published.model_folder import read_model_folder
from apogaia.survey import survey_names


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    survey = registry.load_survey("dr14")
    quick = replace(survey, archive=replace(survey.archive, attempts=1, timeout=5.0))
    monkeypatch.setattr(registry, "load_survey", lambda name: quick)


def test_every_entry_says_what_it_is():
    models = registry.published_models()
    assert len({model.name for model in models}) == len(models) >= 8
    for model in models:
        assert model.network in HIDDEN and model.survey in survey_names()
        assert all((model.about, model.licence, model.citation, model.page, model.folder))
        assert set(model.sizes) | set(model.sha256) <= set(model.files)
        assert not model.files or model.page.startswith("https://github.com/henrysky/")
        for file in model.remote_files(registry.default_folder(model)):
            assert file.url == f"{model.page}/raw/master/{model.folder}/{file.path.name}"
            assert file.path.parent.parts[-3:] == ("data", "published", model.name)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="no published model 'dr15'; known are dr14-no-offset, "):
        registry.find_model("dr15")


@pytest.fixture
def served(tmp_path):
    """A published folder on a stand-in for its server."""
    folder = write_folder(tmp_path / "there", network())

    def answer(request):
        return Response(body=(folder / request.path.rsplit("/", 1)[1]).read_bytes())

    with StandIn(answer) as server:
        model = replace(registry.find_model("dr14-no-offset"), page=server.url)
        yield model, folder


def test_a_fetched_folder_can_be_imported(served, tmp_path):
    model, there = served
    folder = registry.fetch_model(model, tmp_path / "here", progress=False)
    for file in there.iterdir():
        assert (folder / file.name).read_bytes() == file.read_bytes()
    assert read_model_folder(folder).architecture == "ApogeeBCNN"
    (there / "model_weights.h5").unlink()  # what is here is not fetched again
    assert registry.fetch_model(model, tmp_path / "here", progress=False) == folder


def test_a_known_hash_is_checked(served, tmp_path):
    model, _ = served
    wrong = replace(model, sha256={"model_weights.h5": "0" * 64})
    with pytest.raises(FetchError, match="SHA-256"):
        registry.fetch_model(wrong, tmp_path / "here", progress=False)
    assert not (tmp_path / "here" / "model_weights.h5").exists()


def test_without_a_network_a_sentence_says_where_to_put_the_folder(tmp_path):
    model = replace(registry.find_model("dr14-constant"), page="http://127.0.0.1:9")
    with pytest.raises(FetchError) as caught:
        registry.fetch_model(model, tmp_path / "here", progress=False)
    message = str(caught.value)
    assert "\n" not in message
    assert "get astroNN_constant_model from http://127.0.0.1:9, put astroNN_model_parameter.json and" in message
    assert f"model_weights.h5 into {tmp_path / 'here'}" in message


def test_a_network_without_an_address(tmp_path):
    with pytest.raises(FetchError, match=r"astra-distances cannot be fetched: get .* put it into .*here"):
        registry.fetch_model(registry.find_model("astra-distances"), tmp_path / "here")


def test_the_file_is_plain_data():
    from importlib import resources

    text = (resources.files("apogaia.published") / "published_models.json").read_text(encoding="utf-8")
    assert list(json.loads(text)) == ["models"]
