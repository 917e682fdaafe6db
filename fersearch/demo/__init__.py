"""A page on this machine that runs a model on pictures and the webcam."""

from fersearch.demo.app import make_app
from fersearch.demo.server import DEFAULT_PORT, listen, serve

__all__ = ["DEFAULT_PORT", "listen", "make_app", "serve"]
