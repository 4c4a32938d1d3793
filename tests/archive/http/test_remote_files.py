"""What is whole is told from what is not, and linked to instead of fetched where a mirror has it."""

import pytest
from small_archive import fetch, fits_like, sha1
from stand_in import StandIn, serve_folder

from apogaia.archive.http.remote_files import FetchError, RemoteFile, State, link_file, verify


def test_verify_tells_what_is_wrong(tmp_path):
    content = fits_like(5, seed=1)
    path, right, n_bytes = tmp_path / "star.fits", sha1(content), len(content)

    def told(written, hash=right, size=n_bytes, name="star.fits"):
        file = RemoteFile(tmp_path / name, "http://archive/star.fits", hash, size)
        file.path.write_bytes(written)
        return verify(file)

    assert verify(RemoteFile(path, "")) == "the file is missing"
    assert told(content) == told(content, size=None) == told(content, hash=None) == told(content, None, None) == ""
    assert told(content, hash=right.upper().replace("SHA1", "sha1")) == ""
    assert told(content[:-1]) == "the file has 14399 bytes, the archive says 14400"
    assert "not a multiple" in told(content[:-1], None, None)
    assert "SHA-1 is" in told(content[:-1] + b"x") and told(content[:-1] + b"x", None) == ""
    assert told(b"") == "the file is empty"
    assert told(b"  <!DOCTYPE html><html><TITLE>Log\n in</TITLE>") == "an HTML page (Log in) instead of the file"
    assert "does not begin as a FITS file" in told(b"x" + content[1:])
    assert "does not begin as a gzip file" in told(content, name="star.fits.gz")
    assert "does not begin as an HDF5 file" in told(content, name="stars.h5")
    assert told(b"\x89HDF\r\n\x1a\n", None, None, "stars.h5") == told(b"\x1f\x8b", None, None, "a.fits.gz") == ""
    assert told(b"<html>", None, None, "page.html") == told(b"<?xml?><VOTABLE>", None, None, "a.xml") == ""
    for wrong in ("sha1:12", "crc:00000000", "0" * 40):
        with pytest.raises(ValueError, match=r"star\.fits.*is no hash"):
            RemoteFile(path, "", wrong)


def test_links_are_made_to_whole_copies_only(tmp_path, monkeypatch):
    content = fits_like(5, seed=1)
    copy, path = tmp_path / "mirror" / "star.fits", tmp_path / "here" / "deep" / "star.fits"
    copy.parent.mkdir()
    file = RemoteFile(path, "http://archive/star.fits", sha1(content))
    assert link_file(file, copy).reason == f"{copy}: the file is missing"
    copy.write_bytes(content[:-2880])
    outcome = link_file(file, copy)
    assert outcome.state is State.FAILED and "SHA-1" in outcome.reason and not path.exists()
    copy.write_bytes(content)
    path.parent.mkdir(parents=True)
    for left in (".star.fits.part", ".star.fits.part.note", ".star.fits.link"):
        (path.parent / left).write_text("of a killed run")
    monkeypatch.chdir(tmp_path)
    assert link_file(file, "mirror/star.fits").state is State.LINKED
    monkeypatch.chdir("/")
    assert path.is_symlink() and path.read_bytes() == content and verify(file) == ""
    assert [left.name for left in path.parent.iterdir()] == ["star.fits"]
    assert link_file(file, copy).state is State.PRESENT
    # a mirror that went away: the link leads nowhere, and the file is fetched in its place
    copy.unlink()
    served = tmp_path / "served"
    served.mkdir()
    (served / "star.fits").write_bytes(content)
    with StandIn(serve_folder(served)) as server:
        assert fetch([RemoteFile(path, f"{server.url}/star.fits", sha1(content))])[0].state is State.FETCHED
    assert not path.is_symlink() and path.read_bytes() == content
    (tmp_path / "file").write_text("")
    with pytest.raises(FetchError, match="cannot be written"):
        link_file(RemoteFile(tmp_path / "file" / "star.fits", "", sha1(content)), served / "star.fits")
