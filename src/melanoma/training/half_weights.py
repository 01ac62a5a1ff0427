"""Store the weights of an ONNX network in 16 bits; it still computes in 32.

Each large array of weights becomes one of float16 and a node that casts it to float32, which ONNX Runtime
computes once, when it loads the file. Halves the file; speed and memory stay the same.
"""

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

# Number of values from which an array is stored in 16 bits. The others (kernels of depthwise convolutions,
# biases, the last layer) are 5 % of the bytes of EfficientNet-Lite0 and make most of the error: with them the
# largest change of a logit over 16 images was 0.026 instead of 0.007.
MIN_VALUES = 20_000
TOLERANCE = 1e-3  # largest change of a probability


def with_half_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a network whose weights are stored as float16; those that float16 cannot hold stay as is."""
    half = onnx.ModelProto()
    half.CopyFrom(model)
    weights = [tensor for tensor in half.graph.initializer if _fits(tensor)]
    casts = []
    for tensor in weights:
        name, values = tensor.name, numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *half.graph.node]
    del half.graph.node[:]
    half.graph.node.extend(nodes)
    return half


def largest_change(model: onnx.ModelProto, other: onnx.ModelProto, images: np.ndarray) -> float:
    """Largest absolute difference between the probabilities of two networks; nan if one is nan.

    Args:
        model: Network with inputs and outputs as in `saving.save_model`.
        other: Another one with the same outputs.
        images: Shape `(n, size, size, 3)`, uint8, not empty.
    """
    sessions = [
        ort.InferenceSession(one.SerializeToString(), providers=["CPUExecutionProvider"])
        for one in (model, other)
    ]
    names = [output.name for output in model.graph.output if output.name != "features"]
    (image,) = sessions[0].get_inputs()
    changes = [0.0]
    for picture in images:  # one at a time, which needs little memory
        first, second = (session.run(names, {image.name: picture[None]}) for session in sessions)
        changes += [float(np.abs(a - b).max()) for a, b in zip(first, second, strict=True)]
    return float(np.max(changes))


def _fits(tensor: onnx.TensorProto) -> bool:
    if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims, dtype=int) < MIN_VALUES:
        return False
    return bool((np.abs(numpy_helper.to_array(tensor)) <= np.finfo(np.float16).max).all())
