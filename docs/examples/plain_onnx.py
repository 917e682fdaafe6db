"""Ask a file that fersearch export wrote, without fersearch: plain_onnx.py MODEL.onnx FACE."""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
about = session.get_modelmeta().custom_metadata_map
side, classes = int(about["image_size"]), json.loads(about["classes"])
mean, std = (np.float32(json.loads(about[key])) for key in ("mean", "std"))
face = Image.open(sys.argv[2]).convert("RGB" if about["colour_order"] == "RGB" else "L")
face = face.resize((side, side), Image.Resampling.BILINEAR, reducing_gap=3.0).convert("RGB")
image = (np.float32(face) / 255 - mean) / std
logits = session.run(["logits"], {"images": image.transpose(2, 0, 1)[None]})[0][0]
shares = np.exp(logits - logits.max())
for label, share in zip(classes, shares / shares.sum(), strict=True):
    print(f"{label} {share:.4f}")
