"""Prints as JSON what TensorBoard's own reader finds in a folder: every point of every tag."""

import json
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

# 0: keep every point, where TensorBoard's server keeps a sample.
events = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0, "histograms": 0, "tensors": 0})
events.Reload()
tags = events.Tags()
json.dump({
    "scalars": {tag: [[e.wall_time, e.step, e.value] for e in events.Scalars(tag)] for tag in tags["scalars"]},
    "histograms": {
        tag: [{
            "wall_time": e.wall_time, "step": e.step,
            "min": e.histogram_value.min, "max": e.histogram_value.max,
            "num": e.histogram_value.num, "sum": e.histogram_value.sum,
            "limits": list(e.histogram_value.bucket_limit), "counts": list(e.histogram_value.bucket),
        } for e in events.Histograms(tag)] for tag in tags["histograms"]
    },
    "texts": {tag: [e.tensor_proto.string_val[0].decode() for e in events.Tensors(tag)] for tag in tags["tensors"]},
}, sys.stdout)
