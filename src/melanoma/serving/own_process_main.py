"""Program of `own_process`: load a model with its own code and answer requests.

Run as `python -P own_process_main.py MODEL_FOLDER`. It must not import this package before the model is
loaded. A request is a line of JSON on standard input, an answer is a line on standard output.
"""

import base64
import json
import os
import sys
from typing import IO, Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException


def main(model_folder: str, answers: IO[str]) -> None:
    """Answer until the input ends."""
    model = mlflow.pyfunc.load_model(model_folder)
    print(json.dumps({"is_ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(_reply(model, json.loads(line))), file=answers, flush=True)


def _reply(model: Any, asked: dict[str, Any]) -> dict[str, Any]:
    images = [base64.b64decode(text) for text in asked["images"]]
    columns = {"image": images, "image_id": asked["image_ids"]}
    if any(one is not None for one in asked["group_ids"]):  # models of earlier code do not know the column
        columns["group_id"] = asked["group_ids"]
    frame = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()})
    try:
        answer = model.predict(frame, params=asked["params"])
    except MlflowException as error:
        reasons = getattr(error, "reasons", {})  # of rows; models of earlier code have none
        return {"refusal": error.message, "error_code": error.error_code, "reasons": dict(reasons)}
    return {"columns": answer.to_dict("list")}


if __name__ == "__main__":
    # Output of libraries goes to standard error; only answers go to standard output.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    main(sys.argv[1], replies)
