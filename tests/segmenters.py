"""A segmenter made by hand: dark is lesion. As ONNX, so that tests need no training and no TensorFlow."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def write_segmenter(path: Path, *, size: int, limit: float = 100.0) -> Path:
    """For pictures of `size` pixels: a pixel is lesion where the mean of its colours is at most `limit`."""
    constants = [
        numpy_helper.from_array(np.array([limit], np.float32), "limit"),
        numpy_helper.from_array(np.array([3], np.int64), "axes"),
    ]
    nodes = [
        helper.make_node("Cast", ["image"], ["colours"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["colours", "axes"], ["grey"], keepdims=1),
        helper.make_node("Sub", ["limit", "grey"], ["darkness"]),
        helper.make_node("Sigmoid", ["darkness"], ["lesion"]),
    ]
    graph = helper.make_graph(
        nodes,
        "darkness",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", size, size, 3])],
        [helper.make_tensor_value_info("lesion", TensorProto.FLOAT, ["n", size, size, 1])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path
