"""The columns and types of the report's own tables. Shares are null where their denominator is zero."""

import pyarrow as pa

PER_CLASS = pa.schema(
    [
        ("class_id", pa.int16()),
        ("class_name", pa.string()),
        ("test_images", pa.int64()),
        ("labels_only_accuracy", pa.float64()),
        ("retrained_accuracy", pa.float64()),
        ("change", pa.float64()),
        ("labeled", pa.int64()),  # roles labeled and calibration, all clients
        ("predicted", pa.int64()),
        ("selected", pa.int64()),
        ("true_precision_before", pa.float64()),
        ("true_precision", pa.float64()),
        ("estimated_precision", pa.float64()),
        ("lower_bound", pa.float64()),
        ("coverage", pa.float64()),
        ("recall_before", pa.float64()),
        ("recall", pa.float64()),
        ("generated", pa.int64()),
        ("kept", pa.int64()),
    ]
)
PER_CLIENT = pa.schema(
    [
        ("client_id", pa.int16()),
        ("labeled", pa.int64()),  # roles labeled and calibration
        ("calibration", pa.int64()),
        ("labeled_classes", pa.int64()),  # classes with at least one of them
        ("unlabeled", pa.int64()),
        ("generated", pa.int64()),
        ("kept", pa.int64()),
        ("labels_only_accuracy", pa.float64()),
        ("retrained_accuracy", pa.float64()),
        ("change", pa.float64()),
    ]
)
