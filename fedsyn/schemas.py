"""The columns and types of every table in the store."""

import pyarrow as pa


def _image() -> pa.DataType:
    return pa.struct([("bytes", pa.binary()), ("path", pa.string())])


HUGGING_FACE_IMAGE = {
    b"huggingface": b'{"info": {"features": {'
    b'"client_id": {"dtype": "int16", "_type": "Value"}, "class_id": {"dtype": "int16", "_type": "Value"}, '
    b'"index": {"dtype": "int32", "_type": "Value"}, "seed": {"dtype": "int64", "_type": "Value"}, '
    b'"image": {"_type": "Image"}}}}'
}

LABELS = pa.schema([("sample_id", pa.int64()), ("label", pa.int16())])
ASSIGNMENTS = pa.schema(
    [("sample_id", pa.int64()), ("client_id", pa.int16()), ("role", pa.string()), ("label", pa.int16())]
)
LOSS_HISTORY = pa.schema([("round", pa.int32()), ("clients", pa.int32()), ("train_loss", pa.float64())])
HISTORY = pa.schema([*LOSS_HISTORY, ("test_accuracy", pa.float64())])
PREDICTIONS = pa.schema([("sample_id", pa.int64()), ("prediction", pa.int16())])
PSEUDO_LABELS = pa.schema(
    [
        ("sample_id", pa.int64()),
        ("client_id", pa.int16()),
        ("pseudo_label", pa.int16()),
        ("confidence", pa.float32()),
    ]
)
CALIBRATION = pa.schema([*PSEUDO_LABELS, ("label", pa.int16())])
SELECTED_LABELS = pa.schema([*PSEUDO_LABELS, ("threshold", pa.float32()), ("selected", pa.bool_())])
PRECISION = pa.schema(
    [
        ("class_id", pa.int16()),
        ("threshold", pa.float64()),  # null: the class keeps nothing
        ("reached", pa.bool_()),
        ("calibration_samples", pa.float64()),  # effective ones, where they are weighted
        ("estimated_precision", pa.float64()),
        ("lower_bound", pa.float64()),
        ("predicted", pa.int64()),
        ("selected", pa.int64()),
        ("true_precision_before", pa.float64()),
        ("true_precision", pa.float64()),
        ("coverage", pa.float64()),
        ("recall_before", pa.float64()),
        ("recall", pa.float64()),
    ]
)
PLAN = pa.schema(
    [
        ("client_id", pa.int16()),
        ("class_id", pa.int16()),
        ("have", pa.int32()),
        ("target", pa.int32()),
        ("to_generate", pa.int32()),
        ("kept", pa.int32()),
    ]
)
NEAREST = pa.schema(
    [
        ("row", pa.int64()),  # of synthesis/images.parquet, or the sample id of a test image
        ("class_id", pa.int16()),
        ("sample_id", pa.int64()),  # the nearest training image of the denoiser
        ("distance", pa.float64()),  # root mean squared difference of a pixel, from 0 to 1
        ("ratio", pa.float64()),  # to the mean distance of the nearest training images
        ("memorised", pa.bool_()),
    ]
)
IMAGE_QUALITY = pa.schema(
    [
        ("class_id", pa.int16()),
        ("images", pa.int64()),
        ("class_agreement", pa.float64()),  # of the judge; `_real`: on test images, here and below
        ("class_agreement_real", pa.float64()),
        ("classification_accuracy", pa.float64()),
        ("classification_accuracy_real", pa.float64()),  # of a training on real images, as many of each class
        ("diversity", pa.float64()),  # mean distance of two images of the class in judge features
        ("diversity_real", pa.float64()),
        ("relative_diversity", pa.float64()),
        ("nearest_distance", pa.float64()),  # median
        ("nearest_distance_real", pa.float64()),
        ("memorised_share", pa.float64()),
        ("memorised_share_real", pa.float64()),
    ]
)
SYNTHETIC_IMAGES = pa.schema(
    [
        ("client_id", pa.int16()),
        ("class_id", pa.int16()),
        ("index", pa.int32()),
        ("seed", pa.int64()),
        ("image", _image()),
    ],
    metadata=HUGGING_FACE_IMAGE,
)
