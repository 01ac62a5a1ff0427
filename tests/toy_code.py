"""A project of a few lines, of which digests of code are taken."""

from pathlib import Path

from melanoma.code_parts import CodeParts

FILES = {
    "src/melanoma/__init__.py": '"""The package."""\n',
    "src/melanoma/config/__init__.py": "from melanoma.config.params import Params, load\n",
    "src/melanoma/config/types.py": (
        "Fraction = float\nNames = list[str]\n\n\nclass Section:\n    strict = True\n"
    ),
    "src/melanoma/config/sections.py": (
        "from melanoma.config.types import Fraction, Section\n\n\n"
        "class Space(Section):\n    low: Fraction\n\n\n"
        "class Train(Section):\n    rate: float\n\n\n"
        "class Tune(Section):\n    trials: int\n    space: Space\n\n\n"
        "class Promote(Section):\n    bound: Fraction\n"
    ),
    "src/melanoma/config/params.py": (
        "from melanoma.config.sections import Promote, Train, Tune\n"
        "from melanoma.config.types import Names, Section\n\n\n"
        "class Params(Section):\n"
        "    train: Train\n    tune: Annotated[Tune, Field(alias='search')]\n"
        "    promote: dict[str, Promote]\n"
        "    cohorts: dict[str, Names]\n\n\n"
        "def load(path):\n    return Params(path)\n"
    ),
    "src/melanoma/fit.py": (
        "import numpy as np\nfrom typing import TYPE_CHECKING\n\n"
        "if TYPE_CHECKING:\n    from melanoma import gates\n\n\n"
        'def fit(rate):\n    """Fit."""\n    import tensorflow\n\n    return np.ones(3) * rate  # three\n'
    ),
    "src/melanoma/gates.py": "from melanoma.page import write\n\nGATES = 2\n",
    "src/melanoma/page/__init__.py": "",
    "src/melanoma/page/write.py": 'FOLDER, HELPER = "templates", "child_main.py"\n',
    "src/melanoma/page/child_main.py": "from melanoma.page import paper\n",
    "src/melanoma/page/paper.py": 'RUN, TABLE = "melanoma.page.worker", "paper.yaml"\n',
    "src/melanoma/page/worker.py": "import matplotlib\n",
    "src/melanoma/page/paper.yaml": "auc: 0.9\n",
    "src/melanoma/page/templates/page.css": "body {}\n",
    "src/melanoma/page/README.md": "What this folder holds.\n",
    "pipelines/__init__.py": "import os\n",
    "pipelines/train.py": (
        "from melanoma import config\nfrom melanoma.config.sections import Space\n\n\n"
        "def main():\n    from melanoma.fit import fit\n\n    fit(config.load('params.yaml').train.rate)\n"
    ),
    "pipelines/promote.py": "from melanoma import config\nfrom melanoma.gates import GATES\n",
    "requirements.lock": (
        'numpy==2.4.6 ; python_full_version < "3.12" \\\n    --hash=sha256:00\n'
        'numpy==2.5.5 ; python_full_version >= "3.12" \\\n    --hash=sha256:01\n'
        "tensorflow==2.21.0 \\\n    --hash=sha256:02\nmatplotlib==3.11.2 \\\n    --hash=sha256:03\n"
    ),
    "dvc.yaml": (
        "stages:\n"
        "  code: {cmd: python -m pipelines.code}\n"
        "  train: {cmd: python -m pipelines.train --out x, params: [train.rate, {code.json: [train]}]}\n"
        "  promote:\n    foreach: [a]\n"
        "    do: {cmd: python -m pipelines.promote, params: ['promote.${item}']}\n"
    ),
}


def write(folder: Path) -> Path:
    """Write the project to `folder`."""
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def change(folder: Path, name: str, old: str, new: str) -> None:
    """Replace a text that stands in a file."""
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new))


def parts(folder: Path) -> CodeParts:
    """The parts of the project as it is now."""
    packages = {"melanoma": folder / "src" / "melanoma", "pipelines": folder / "pipelines"}
    return CodeParts(packages, folder / "requirements.lock")
