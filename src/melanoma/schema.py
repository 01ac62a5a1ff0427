"""The vocabulary: names, types and legal values of the columns that travel through all stages."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

import pandas as pd

from melanoma.errors import DataError, first_offenders

POSITIVE, NEGATIVE = 1, 0  # values of `target`; `params.yaml: target` declares what is positive

# Answers of a model. What `positive` means is declared with the data (`target.positive`) and said beside it.
DECISIONS = ("negative", "refer", "positive")
EARLIER_DECISIONS = {"benign": "negative", "malignant": "positive"}  # words of older results
EARLIER_POSITIVE = "malignant, as the data say"  # what `positive` means where older results do not say it

NOT_A_DEVICE = "research software, not a medical device"  # stands on everything that people look at

# What several classes tell apart; their order is that of a network's outputs.
MELANOMA, NEVUS, OTHER = "melanoma", "nevus", "other"
BENIGN_KERATOSIS = "benign keratosis"  # seborrheic keratosis, solar lentigo and lichen planus like keratosis
BASAL_CELL_CARCINOMA = "basal cell carcinoma"
ACTINIC_OR_SQUAMOUS = "actinic keratosis or squamous cell carcinoma"
VASCULAR_LESION, DERMATOFIBROMA = "vascular lesion", "dermatofibroma"
CLASSES = (
    MELANOMA,
    NEVUS,
    BENIGN_KERATOSIS,
    BASAL_CELL_CARCINOMA,
    ACTINIC_OR_SQUAMOUS,
    VASCULAR_LESION,
    DERMATOFIBROMA,
    OTHER,
)
MALIGNANT_CLASSES = (MELANOMA, BASAL_CELL_CARCINOMA, ACTINIC_OR_SQUAMOUS)
# Words of all sources, in lower case, by class. `OTHER` has the words that certainly mean no other class.
WORDS_OF_CLASS = {
    MELANOMA: (
        *("melanoma", "melanoma in situ", "melanoma invasive", "melanoma metastasis", "melanoma, nos"),
        *("lentigo maligna", "lentigo maligna melanoma", "acral lentiginous melanoma", "nodular melanoma"),
        *("superficial spreading melanoma", "amelanotic melanoma"),
    ),
    NEVUS: (
        *("nevus", "common nevus", "atypical nevus", "melanocytic nevus", "dysplastic nevus", "clark nevus"),
        *("blue nevus", "nevus spilus", "congenital nevus", "combined nevus", "dermal nevus", "halo nevus"),
        *("recurrent nevus", "spitz nevus", "reed nevus", "reed or spitz nevus"),
    ),
    BENIGN_KERATOSIS: (
        *("benign keratosis", "seborrheic keratosis", "pigmented benign keratosis", "solar lentigo"),
        *("lichenoid keratosis", "lichen planus like keratosis"),
    ),
    BASAL_CELL_CARCINOMA: ("basal cell carcinoma",),
    ACTINIC_OR_SQUAMOUS: (
        *("actinic keratosis or squamous cell carcinoma", "actinic keratosis", "solar or actinic keratosis"),
        *("squamous cell carcinoma", "squamous cell carcinoma, nos", "squamous cell carcinoma, invasive"),
        *("squamous cell carcinoma in situ", "bowen disease", "bowen's disease"),
    ),
    VASCULAR_LESION: (
        *("vascular lesion", "angioma", "cherry angioma", "hemangioma", "angiokeratoma"),
        "pyogenic granuloma",
    ),
    DERMATOFIBROMA: ("dermatofibroma",),
    OTHER: (
        *("other", "lentigo simplex", "lentigo nos", "cafe-au-lait macule", "neurofibroma", "verruca"),
        *("scar", "sebaceous hyperplasia", "acrochordon", "clear cell acanthoma", "molluscum"),
        *("merkel cell carcinoma", "kaposi sarcoma", "dermatofibrosarcoma protuberans"),
    ),
}
CLASS_OF_DIAGNOSIS = {word: name for name, words in WORDS_OF_CLASS.items() for word in words}
# What a source says beside the diagnosis; missing where it has no such statement.
BENIGN_LESION, MALIGNANT_LESION = "benign", "malignant"
INDETERMINATE = "indeterminate"
UNCLEAR = "unclear"  # it has a place for the statement, which is blank or contradicts another one

FEMALE, MALE = "female", "male"
DERMOSCOPIC = "dermoscopic"  # the one image type that networks are trained on

TRAIN = "train"
VALIDATION = "validation"
TEST = "test"
SPLITS = (TRAIN, VALIDATION, TEST)
LEAK_FREE = "leak_free"  # protocol: no group of images crosses a split

# What a dermatologist saw in the lesion, in words; missing where a dataset does not say.
CLINICAL_DTYPES = {
    "asymmetry": "string",
    "pigment_network": "string",
    "dots_globules": "string",
    "streaks": "string",
    "regression_areas": "string",
    "blue_whitish_veil": "string",
    "colours": "string",  # joined by "; "
}

# One row per image. pandas dtypes that keep "missing" apart from every value.
RECORD_DTYPES = {
    "image_id": "string",
    "dataset": "string",
    "diagnosis": "string",
    "malignancy": "string",  # benign, malignant, indeterminate or unclear; not the target
    "target": "Int64",  # 1 positive, 0 negative, <NA> = no clear label; `data.targets` computes it
    "lesion_id": "string",
    "patient_id": "string",
    "age_years": "Float64",
    "sex": "string",
    "anatom_site": "string",
    "skin_type": "string",  # Fitzpatrick, I to VI; only where a dataset records it
    "image_type": "string",  # `DERMOSCOPIC`, or the source's word for another one; missing = not stated
    "source_collection": "string",
    "licence": "string",
    "attribution": "string",
    "is_synthetic": "boolean",
    "path": "string",  # relative to the top of the repository, forward slashes
    "mask_path": "string",
    **CLINICAL_DTYPES,
}
RECORD_COLUMNS = tuple(RECORD_DTYPES)

# Where each image that was ever accepted lies. `split` never changes; a withheld image is left out of
# every cohort, for the reason given.
# The ids and the digest are kept so that new images are tied to those that have left since.
ASSIGNED_COLUMNS = (
    "image_id",
    "dataset",
    "lesion_id",
    "patient_id",
    "sha256",
    "group_id",
    "target",
    "split",
    "withheld",
    "plan",
)
PAIR_COLUMNS = ("image_id", "other_image_id", "reason")
SPLIT_COLUMNS = ("image_id", "dataset", "group_id", "target", "split")
# Index of a packed cohort. The class is one of `CLASSES`. The digest is of the whole picture, whatever its
# crop and the sizes at which it is packed.
INDEX_COLUMNS = (*SPLIT_COLUMNS, "diagnosis_class", "picture_digest")
PREDICTION_COLUMNS = (*SPLIT_COLUMNS, "model", "score", "probability", "decision", "reason")

MODEL_NAMES = ("baseline", "tuned")
# Logistic regressions that never see the lesion's form.
REFERENCE_NAMES = ("colour", "file_facts", "lesion_size")

Values = TypeVar("Values", pd.Series, pd.DataFrame)


def conform_records(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with exactly the record columns, in order, each of its declared type.

    Optional columns that a dataset does not know (for instance patient_id of PH2) may be absent
    and become all-missing.

    Raises:
        DataError: No rows; `image_id`, `dataset`, `target` or `path` absent; a value of a wrong type;
            an `image_id` that is blank or occurs twice.
    """
    missing = {"image_id", "dataset", "target", "path"} - set(frame.columns)
    if missing:
        raise DataError(f"Records lack the columns {sorted(missing)}, which the reader must return.")
    if frame.empty:
        raise DataError("Records are empty: the metadata has no rows. Fetch the dataset again.")
    try:
        records = frame.reindex(columns=list(RECORD_COLUMNS)).astype(RECORD_DTYPES)
    except (TypeError, ValueError) as error:
        raise DataError(f"A record value has a wrong type: {error}.") from error
    _require_unique_ids(records)
    return records.sort_values("image_id").reset_index(drop=True)


def diagnosis_classes(diagnosis: pd.Series) -> pd.Series:
    """The class of each diagnosis, of `CLASSES`; a blank and every unknown word is `other`.

    Args:
        diagnosis: Diagnoses of records, as text.

    Example:
        >>> diagnosis_classes(pd.Series(["melanoma", "atypical nevus", None, "scar"])).tolist()
        ['melanoma', 'nevus', 'other', 'other']
    """
    return known_classes(diagnosis).fillna(OTHER)


def known_classes(diagnosis: pd.Series) -> pd.Series:
    """As `diagnosis_classes`, but missing for a blank and for every unknown word."""
    words = diagnosis.astype("string").str.strip().str.lower()
    return words.map(CLASS_OF_DIAGNOSIS).astype("string")


def positive_means(positive: Sequence[str]) -> str:
    """What `positive` means, in words.

    Args:
        positive: The positive classes, in any order; those of `CLASSES` are named in its order.

    Example:
        >>> positive_means(["basal cell carcinoma", "melanoma"])
        'melanoma or basal cell carcinoma'
    """
    *others, last = sorted(
        positive, key=lambda name: CLASSES.index(name) if name in CLASSES else len(CLASSES)
    )
    return f"{', '.join(others)} or {last}" if others else last


def _require_unique_ids(records: pd.DataFrame) -> None:
    is_blank = records["image_id"].fillna("") == ""
    if is_blank.any():
        raise DataError(f"{int(is_blank.sum())} rows have a blank image_id.")
    repeated = records.loc[records["image_id"].duplicated(), "image_id"].unique()
    if len(repeated):
        raise DataError(
            f"Each image_id must occur once; {len(repeated)} are repeated: {first_offenders(repeated)}. "
            "Remove the extra rows from the metadata."
        )


def require_columns(frame: pd.DataFrame, columns: tuple[str, ...], source: object) -> None:
    """Raise a `DataError` when `frame`, read from `source`, lacks one of `columns`."""
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise DataError(f"{source} lacks the columns {missing}; it has {sorted(map(str, frame.columns))}.")


def align(values: Values, image_ids: Iterable[str], *, what: str) -> Values:
    """`values` in the order of `image_ids`, paired by image_id and never by position.

    Args:
        values: A value or a row for each image, indexed by image_id, in any order.
        image_ids: The images in the wanted order, each once.
        what: Names the values in messages.

    Raises:
        DataError: An image has no value, a value belongs to no image, or an image_id occurs twice.

    Example:
        >>> align(pd.Series({"a": 0.1, "b": 0.9}), ["b", "a"], what="scores").tolist()
        [0.9, 0.1]
    """
    wanted, found = pd.Index(image_ids), values.index
    problems = {
        "images occur more than once": wanted[wanted.duplicated()].unique(),
        "image_ids have more than one row": found[found.duplicated()].unique(),
        "images have no row": wanted[~wanted.isin(found)],
        "rows belong to other images": found[~found.isin(wanted)],
    }
    said = [f"{len(ids)} {words} ({first_offenders(ids)})" for words, ids in problems.items() if len(ids)]
    if said:
        raise DataError(
            f"{what} cannot be paired with the {len(wanted)} images by image_id: {'; '.join(said)}. "
            "Expected one row for each image. One of the files is from another run, or rows were removed: "
            "run `dvc repro` to write both again."
        )
    return values.loc[wanted]
