"""The reduction killed at random moments, and workers of an earlier run that end late."""

from dataclasses import replace

import kill_runs
import pytest
import tiny_survey as tiny

from apogaia import files
from apogaia.reduction import stars_h5
from apogaia.reduction.reduce import reduce_survey


@pytest.mark.slow
def test_killed_at_random_the_reduction_goes_on_to_the_same_bytes(tmp_path):
    found = kill_runs.kill_reductions(tmp_path, kills=10, seed=1)
    assert found["hit_a_running_process"] > 0


def test_chunks_that_a_worker_of_an_earlier_run_finishes_late_are_not_used(tmp_path, monkeypatch):
    survey, workspace = tiny.write_tiny_survey(tmp_path)
    expected = reduce_survey(survey, workspace, processes=1, progress=False).read_bytes()
    other = replace(survey, spectra=replace(survey.spectra, continuum_pixels="dr17"))
    late = []

    def stop(path, *_):
        late.extend((part.name, part.read_bytes()) for part in (workspace.data / "stars.parts").glob("[0-9]*.npz"))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(stars_h5, "write_stars", stop)
        reduce_survey(other, workspace, processes=1, progress=False)
    real = files.parts_folder

    def start(folder, key):
        real(folder, key)
        for name, content in late:
            (folder / name).write_bytes(content)

    monkeypatch.setattr(files, "parts_folder", start)
    workspace.stars.unlink(missing_ok=True)
    assert late and reduce_survey(survey, workspace, processes=1, progress=False).read_bytes() == expected
