"""Operators that ONNX defines and that are not followed, and why: each becomes an op of which nothing is known."""

from __future__ import annotations

_TEXT = "it works on text"
_LEARNED = "it is of classical machine learning, and makes no feature maps"
_TRAINING = "it is a step of training"

#: Domain -> operator -> what stands in the way.
NOT_FOLLOWED: dict[str, dict[str, str]] = {
    "": {
        "ImageDecoder": "it decodes a file",
        "RegexFullMatch": _TEXT,
        "StringConcat": _TEXT,
        "StringNormalizer": _TEXT,
        "StringSplit": _TEXT,
        "TfIdfVectorizer": _TEXT,
    },
    "ai.onnx.ml": dict.fromkeys(
        (
            "ArrayFeatureExtractor", "Binarizer", "CastMap", "CategoryMapper", "DictVectorizer", "FeatureVectorizer",
            "Imputer", "LabelEncoder", "LinearClassifier", "LinearRegressor", "Normalizer", "OneHotEncoder",
            "SVMClassifier", "SVMRegressor", "Scaler", "TreeEnsemble", "TreeEnsembleClassifier",
            "TreeEnsembleRegressor", "ZipMap",
        ),
        _LEARNED,
    ),
    "ai.onnx.preview": {"FlexAttention": "it runs graphs of its own on the scores"},
    "ai.onnx.preview.training": dict.fromkeys(("Adagrad", "Adam", "Gradient", "Momentum"), _TRAINING),
}  # fmt: skip


def reason(domain: str, op: str) -> str:
    """Return why an operator is not followed, empty if nothing is known of it.

    Examples
    --------
    >>> reason("", "StringSplit"), reason("com.example", "Warp")
    ('it works on text', '')
    """
    return NOT_FOLLOWED.get("" if domain == "ai.onnx" else domain, {}).get(op, "")
