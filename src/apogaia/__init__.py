"""apogaia: spectro-photometric distances for APOGEE stars and the Gaia parallax zero point, calibrated together."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("apogaia")
except PackageNotFoundError:  # running from a source tree that was never installed
    __version__ = "0+unknown"
