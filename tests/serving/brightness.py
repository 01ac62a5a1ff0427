"""A network that needs no training: the brighter the picture, the higher its score."""

import json
from collections.abc import Sequence
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from melanoma.schema import CLASSES


def write_class_network(
    path: Path, *, size: int = 32, num_classes: int = len(CLASSES), classes: Sequence[str] = CLASSES
) -> Path:
    """Write a network whose score is the mean of all pixels / 255, with classes that share what is left."""
    model = onnx.load(write_network(path, size=size))
    named = {"classes": json.dumps(list(classes)), "positive": json.dumps(list(classes[:1]))}
    helper.set_model_props(model, named)
    others = helper.make_tensor("others", TensorProto.FLOAT, [], [num_classes - 1.0])
    one = helper.make_tensor("one", TensorProto.FLOAT, [], [1.0])
    model.graph.initializer.extend([others, one])
    model.graph.node.extend(
        [
            helper.make_node("Sub", ["one", "score"], ["left"]),
            helper.make_node("Div", ["left", "others"], ["each"]),
            helper.make_node("Concat", ["score", *["each"] * (num_classes - 1)], ["diagnosis"], axis=1),
        ]
    )
    model.graph.output.append(
        helper.make_tensor_value_info("diagnosis", TensorProto.FLOAT, ["n", num_classes])
    )
    onnx.save(model, path)
    return path


def write_network(path: Path, *, size: int = 32) -> Path:
    """Write an ONNX network whose score is the mean of all pixels / 255."""
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", size, size, 3])
    scores = helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n", 1])
    axes = helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2])
    channels = helper.make_tensor("channels", TensorProto.INT64, [1], [1])
    largest = helper.make_tensor("largest", TensorProto.FLOAT, [], [255.0])
    nodes = [
        helper.make_node("Cast", ["images"], ["colours"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["colours", "axes"], ["means"], keepdims=0),
        helper.make_node("ReduceMean", ["means", "channels"], ["mean"], keepdims=1),
        helper.make_node("Div", ["mean", "largest"], ["score"]),
    ]
    graph = helper.make_graph(nodes, "brightness", [images], [scores], [axes, channels, largest])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path)
    return path
