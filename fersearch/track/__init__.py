"""Run records out to MLflow: a sink that can be written again and never fails a trial."""

from fersearch.track.location import (
    TrackingLocation,
    check_reachable,
    masked_uri,
    resolve_tracking,
)
from fersearch.track.reader import TrackedRun, TrackedStudy, read_studies
from fersearch.track.sink import NullTracker, Sink
from fersearch.track.tracker import Tracker

__all__ = [
    "NullTracker",
    "Sink",
    "TrackedRun",
    "TrackedStudy",
    "Tracker",
    "TrackingLocation",
    "check_reachable",
    "masked_uri",
    "read_studies",
    "resolve_tracking",
]
