"""From photographs to aligned faces: detectors and the warp that puts the eyes in place."""
